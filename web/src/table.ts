/** What a table of figures does beyond showing them: arrow keys walk its cells, copying takes the full numbers. */

/** Arrow keys go from button to button of a table's body; Enter does what the button does. */
export function walkRows(event: KeyboardEvent & { currentTarget: HTMLTableSectionElement }): void {
  const cell = (event.target as HTMLElement).closest<HTMLTableCellElement>('td, th');
  const row = cell?.parentElement as HTMLTableRowElement | undefined;
  if (!cell || !row || event.altKey || event.ctrlKey || event.metaKey) return;
  const rows = event.currentTarget.rows;
  const to = (candidates: (HTMLTableCellElement | undefined)[]) => {
    const button = candidates.map((candidate) => candidate?.firstElementChild).find((child) => child instanceof HTMLButtonElement);
    if (button instanceof HTMLButtonElement) button.focus();
    event.preventDefault();
  };
  if (event.key === 'ArrowDown') to([rows[row.sectionRowIndex + 1]?.cells[cell.cellIndex]]);
  else if (event.key === 'ArrowUp') to([rows[row.sectionRowIndex - 1]?.cells[cell.cellIndex]]);
  else if (event.key === 'ArrowRight') to([...row.cells].slice(cell.cellIndex + 1));
  else if (event.key === 'ArrowLeft') to([...row.cells].slice(0, cell.cellIndex).reverse());
}

/** A selection over the table is copied as tab-separated values, numbers in full. */
export function copyRows(event: ClipboardEvent & { currentTarget: HTMLTableElement }): void {
  const selection = window.getSelection();
  if (!selection || selection.isCollapsed) return;
  const rows = [...event.currentTarget.rows].filter((row) => selection.containsNode(row, true));
  event.clipboardData?.setData('text/plain', rows.map((row) => [...row.cells].map(valueOf).join('\t')).join('\n'));
  event.preventDefault();
}

function valueOf(cell: HTMLTableCellElement): string {
  const first = cell.firstElementChild;
  const shown = first instanceof HTMLButtonElement ? (first.dataset.full ?? first.textContent) : cell.textContent;
  return (cell.dataset.full ?? shown ?? '').trim().replace(/\s+/g, ' ');
}
