/** Whose key press it is: the page's own, or that of what has the focus. */

const OWN = 'input, select, textarea, button, a, summary, audio, [contenteditable], [tabindex="0"], [data-instrument] *';

/** The key belongs to a field, a control or an instrument, or goes with a modifier. */
export function isBusy(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return true;
  return event.target instanceof Element && event.target.matches(OWN);
}
