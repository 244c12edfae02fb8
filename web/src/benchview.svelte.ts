/** What the bench draws and writes, from the store: which rows, in which columns, on which scales. */
import { kvAddress, layerAndHead } from './core/address';
import { columnsOf, rowAt, scalesOf, shownKeys } from './core/bench';
import { quoted } from './core/format';
import { dot, headModel, reaches, visibleKeys } from './core/mechanism';
import { pairOrder, products } from './core/why';
import { componentAt } from './draw/strips';
import { lab } from './store.svelte';

export class BenchView {
  readonly rowHeight = window.matchMedia('(pointer: coarse)').matches ? 40 : 29;
  readonly headHeight = this.rowHeight + 5;
  width = $state(816);
  /** A key that keeps its row while its menu is open. */
  kept: number | null = $state(null);

  open = $derived(lab.open!);
  row = $derived(lab.row!);
  before = $derived(lab.rowBefore!);
  weights = $derived(lab.viewWeights!);
  weightsBefore = $derived(lab.viewBefore!);
  query = $derived(this.open.reply.query);
  visible = $derived.by(() => {
    return visibleKeys(this.query, this.open.arrays.valueLengths.length, headModel(lab.info!, this.open.reply.head));
  });
  shown = $derived.by(() => {
    const held = lab.dragging ? this.#lastKeys : [];
    return shownKeys(this.weights, this.visible, this.query, [lab.keyAt, this.kept, ...this.#named], held, this.weightsBefore);
  });
  /** The keys that edits of this head name. */
  #named = $derived.by(() => {
    const { head } = this.open.reply;
    const [layer, index] = layerAndHead(head);
    const kvHead = kvAddress(head, lab.info!);
    return lab.acting.flatMap((edit) => {
      if ('kv_head' in edit) return edit.kv_head === kvHead ? [edit.token] : [];
      if (!('key' in edit)) return [];
      return ('head' in edit ? edit.head === head : reaches(edit, layer, index)) ? [edit.key] : [];
    });
  });
  /** Still the same array while no row comes or goes; so are `k` and `v` while only the query moves. */
  keys: number[] = $derived.by(() => {
    const { keys } = this.shown;
    return (this.#lastKeys = this.#lastKeys.join() === keys.join() ? this.#lastKeys : keys);
  });
  #lastKeys: number[] = [];
  k = $derived(this.row.k);
  kBefore = $derived(this.before.k);
  /** From the unedited arrays, so that a drag moves the bars and not the scale. */
  scales = $derived(scalesOf(this.before, this.open.before.v, shownKeys(this.weightsBefore, this.visible, this.query, []).keys));
  order = $derived(lab.byPair && lab.keyAt !== null ? pairOrder(this.#unedited(lab.keyAt), lab.info!.rotation) : this.before.q.map((_, i) => i));
  /** Of the table: its head, q, the keys, perhaps the others, z. */
  height = $derived(this.headHeight + this.rowHeight * (this.shown.keys.length + (this.shown.others > 0 ? 3 : 2)));
  columns = $derived(columnsOf(this.width));
  grid = $derived({ columns: this.columns, head: this.headHeight, row: this.rowHeight, order: this.order, scales: this.scales });

  still = $derived({ grid: this.grid, keys: this.keys, k: this.k, kBefore: this.kBefore, v: this.open.arrays.v, vBefore: this.open.before.v });

  ablated = $derived.by(() => {
    const [layer, index] = layerAndHead(this.open.reply.head);
    return lab.acting.some((edit) => edit.kind === 'ablate' && edit.strength > 0 && reaches(edit, layer, index));
  });

  /** The figures of one key's row. */
  figures(key: number) {
    const { row, before, weights, weightsBefore } = this;
    const muted = row.scores[key] === -Infinity;
    const score = muted ? lab.info!.scale * dot(row.q, row.k, key * row.q.length) : row.scores[key]!;
    const old = { score: before.scores[key]!, weight: weightsBefore[key]!, share: before.shares[key]! };
    return { score, muted, weight: weights[key]!, share: row.shares[key]!, before: lab.edited ? old : null };
  }

  /** What is at a point of the table, in words and in full; null beside the strips. */
  inWords(x: number, y: number): string | null {
    const at = componentAt(this.grid, x, y);
    if (!at) return null;
    const { row, shown, open } = this;
    const { column, line, component } = at;
    const tell = (what: string, token: number, value: number) => lab.say.bench.component(what, quoted(lab.token(token)), component, String(value));
    if (line === 0) return column === 'key' ? tell('q', this.query, row.q[component]!) : null;
    const last = shown.keys.length + (shown.others > 0 ? 2 : 1);
    if (line === last) return column === 'value' ? tell('z', this.query, row.z[component]!) : null;
    const key = shown.keys[line - 1];
    if (key === undefined) return null;
    const k = rowAt(row.k, key, row.q.length);
    if (column === 'key') return tell('k', key, k[component]!);
    if (column === 'value') return tell('v', key, rowAt(open.arrays.v, key, row.q.length)[component]!);
    return tell('q ∘ k', key, row.q[component]! * k[component]!);
  }

  #unedited(key: number): Float64Array {
    const { q, k } = this.before;
    return products(q, rowAt(k, key, q.length));
  }
}
