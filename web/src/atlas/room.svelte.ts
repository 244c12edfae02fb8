/** The state of the atlas page: which atlas, which axes, which head; what the server answered, and what follows. */
import { addressOf, indexOf, readAddress } from '../core/address';
import type { AtlasHeadReply } from '../core/protocol';
import { Transport, type Socket, type Status } from '../core/transport';
import { atlases } from '../shell/atlases.svelte';
import { readFragment, toFragment } from './address';
import { firstAxes, isAxis, LAYER } from './axes';
import { rolesOf, type Atlas, type AtlasRow } from './data';
import { ranked, sorted, type RankedHead, type Sort } from './ranking';

const AS_RANKED: Sort = { by: 'whole', up: false };

export class Room {
  status: Status = $state('connecting');
  /** The model that the server was started with. */
  own: string | null = $state(null);
  summary: Atlas | null = $state.raw(null);
  error: string | null = $state(null);
  examples: AtlasHeadReply | null = $state.raw(null);
  examplesError: string | null = $state(null);

  // ---- what the person chose
  #wanted: string | null = $state(null);
  x = $state(LAYER);
  y = $state(LAYER);
  colour = $state(LAYER);
  order = $state(LAYER);
  sort: Sort = $state.raw(AS_RANKED);
  role: string | null = $state(null);
  head: string | null = $state(null);
  hovered: number | null = $state(null);

  // ---- what follows
  row: AtlasRow | null = $derived.by(() => {
    const { list } = atlases;
    const own = ({ opens }: AtlasRow) => opens !== null && opens === this.own;
    const given = list.filter(({ origin }) => origin === 'given');
    return list.find(({ id }) => id === this.#wanted) ?? given.find(own) ?? given[0] ?? list.find(own) ?? list[0] ?? null;
  });
  ranked: RankedHead[] = $derived(this.summary ? ranked(this.summary, this.order) : []);
  rows: RankedHead[] = $derived(sorted(this.ranked, this.sort));
  index: number | null = $derived(this.summary && this.head ? indexOf(this.head, this.summary.model.n_head) : null);
  marked: ReadonlySet<number> = $derived(new Set(this.role === null ? [] : this.headsOf(this.role)));
  /** Heads named for what is on an axis. */
  named: ReadonlySet<number> = $derived(new Set([this.x, this.y].flatMap((axis) => this.headsOf(axis))));

  #transport: Transport | null = null;
  /** What an answer is about: a later one is no longer waited for. */
  #asked = '';
  #askedHead = '';

  /** Connect to a server. Returns what ends it. */
  start(url: string, connect?: (url: string) => Socket): () => void {
    this.#transport = new Transport({
      url,
      ...(connect && { connect }),
      onStatus: (status) => (this.status = status),
      onWelcome: ({ models }) => (this.own = models[0]?.name ?? null),
    });
    return this.#transport.start();
  }

  /** Ask for what is chosen and not here yet. Runs again when anything it reads changes. */
  ask(): void {
    const { row, summary, head } = this;
    if (!row || this.own === null) return;
    if (this.#asked !== row.id) this.#askSummary(row.id);
    else if (summary && head !== null && this.#askedHead !== `${row.id} ${head}`) this.#askHead(row.id, head);
  }

  headsOf(role: string): number[] {
    const held = this.summary?.roles.find((one) => one.role === role);
    return held?.heads.map(({ head }) => indexOf(head, this.summary!.model.n_head)) ?? [];
  }

  // ---- what a person can do

  chooseAtlas(id: string): void {
    this.#wanted = id;
  }

  choose(index: number): void {
    if (this.summary) this.head = addressOf(index, this.summary.model.n_head);
  }

  /** A role's heads are marked, and the ranking goes by it; once more: none is. */
  chooseRole(role: string): void {
    if (this.role === role) this.role = null;
    else {
      this.role = role;
      this.rankBy(role);
      this.y = role;
      if (this.x === role) this.x = LAYER;
      const best = this.headsOf(role)[0];
      if (best !== undefined) this.choose(best);
    }
  }

  rankBy(axis: string): void {
    this.order = axis;
    this.sort = AS_RANKED;
  }

  /** By this column; by it again turns the order round. */
  sortBy(by: Sort['by']): void {
    const first = by === 'head';
    this.sort = this.sort.by === by ? { by, up: !this.sort.up } : { by, up: first };
  }

  // ---- the address

  /** Take what an address says, so far as this atlas has it. */
  readAddress(fragment: string): void {
    const said = readFragment(fragment);
    if (said.atlas) this.#wanted = said.atlas;
    if (this.summary) this.#take(fragment);
  }

  get fragment(): string {
    const { head, role, x, y, colour, order } = this;
    return toFragment({ atlas: atlases.list.length > 1 ? (this.row?.id ?? null) : null, head, role, x, y, colour, order });
  }

  // ---- within

  #askSummary(id: string): void {
    this.#asked = id;
    this.error = null;
    this.#transport?.ask('atlas', { atlas: id }, (reply) => {
      if (reply.part === 'atlas') {
        this.summary = reply.summary;
        this.#take(location.hash);
      }
      if (reply.part === 'error') this.error = reply.message;
    });
  }

  #askHead(id: string, head: string): void {
    this.#askedHead = `${id} ${head}`;
    this.examplesError = null;
    this.#transport?.ask('atlas_head', { atlas: id, head }, (reply) => {
      if (reply.part === 'atlas_head') this.examples = reply;
      if (reply.part === 'error') this.examplesError = reply.message;
    });
  }

  #take(fragment: string): void {
    const summary = this.summary!;
    const said = readFragment(fragment);
    const first = firstAxes(summary);
    const axis = (name: string | null, otherwise: string) => (name !== null && isAxis(summary, name) ? name : otherwise);
    [this.x, this.y] = [axis(said.x, first.x), axis(said.y, first.y)];
    [this.colour, this.order] = [axis(said.colour, first.colour), axis(said.order, first.order)];
    this.role = summary.roles.some(({ role }) => role === said.role) ? said.role : null;
    this.sort = AS_RANKED;
    const head = said.head === null ? null : readAddress(said.head, summary.model);
    const roles = head === null ? [] : rolesOf(summary.roles, head);
    // A link names a head alone: what it is named for is shown with it.
    if (said.order === null && roles.length > 0) [this.order, this.y] = [roles[0]!, axis(said.y, roles[0]!)];
    this.head = head ?? this.ranked[0]?.head ?? null;
  }
}
