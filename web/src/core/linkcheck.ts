/** What a link may hold: every value checked by a table before anything of it is used. */
import { en } from '../en/core';
import type { Edit, EditKind, Special, TokenRef, Tracked } from './protocol';

/** The state as links write it: tokens as the wire names them. */
export interface Shared {
  model: string;
  text: string;
  special: Special;
  head: string;
  pinned: string | null;
  query: TokenRef | null;
  key: TokenRef | null;
  edits: { edit: Edit; on: boolean }[];
  tracked: Tracked[];
  atEnd: boolean;
}

/** The link does not hold a state of this page. */
export class LinkError extends Error {
  override name = 'LinkError';
}

const MOST_EDITS = 64;

type Values = Record<string, unknown>;
type Check = (value: unknown) => boolean;

const LARGEST = 1e6;
const isBoolean: Check = (x) => typeof x === 'boolean';
const isWhole: Check = (x) => Number.isSafeInteger(x) && (x as number) >= 0;
const isNumber: Check = (x) => typeof x === 'number' && Math.abs(x) <= LARGEST;
const isShare: Check = (x) => isNumber(x) && (x as number) >= 0 && (x as number) <= 1;
const isAddress: Check = (x) => typeof x === 'string' && /^\d{1,5}\.\d{1,5}$/.test(x);
const isScope: Check = (x) => x === 'all' || isAddress(x) || (typeof x === 'string' && /^\d{1,5}$/.test(x));
const isRange: Check = (x) => Array.isArray(x) && (x.length === 2 || x.length === 3) && x.every(isWhole) && x[0] <= x[1];
const isToken: Check = (x) => isWhole(x) || isRange(x);
const isVector = listOf(isNumber, 1024);
const isText = (longest: number): Check => (x) => typeof x === 'string' && x.length <= longest;

const EDITS: { [K in EditKind]: { [F in Exclude<keyof Extract<Edit, { kind: K }>, 'kind' | 'strength'>]: Check } } = {
  'shift-key': { kv_head: isAddress, token: isToken, shift: isVector },
  'swap-value': { kv_head: isAddress, token: isToken, source: isToken },
  'share-kv': { first_layer: isWhole, last_layer: isWhole, n_kv_head: isWhole },
  'shift-query': { head: isAddress, query: isToken, shift: isVector },
  'aim-query': { head: isAddress, query: isToken, key: isToken, margin: isNumber },
  tie: { where: isScope },
  'stop-rotation': { where: isScope },
  mute: { where: isScope, key: isToken, query: orNull(isToken) },
  strengthen: { where: isScope, query: isToken, key: isToken, amount: isNumber },
  'scale-scores': { where: isScope, factor: isNumber },
  ablate: { where: isScope, to: (x) => x === 'zero' || x === 'mean' || isVector(x) },
};

const STATE: { [F in Exclude<keyof Shared, 'edits'>]: Check } = {
  model: isText(300),
  text: isText(200_000),
  special: (x) => isBoolean(x) || x === 'start',
  head: isAddress,
  pinned: orNull(isAddress),
  query: orNull(isToken),
  key: orNull(isToken),
  tracked: listOf((x) => isWhole(x) || isText(300)(x), 2),
  atEnd: isBoolean,
};

/** The state of a link. Raises LinkError, naming what is wrong; what a state does not have is left out. */
export function readShared(state: unknown): Shared {
  const values = isObject(state) ? state : {};
  const read = checked(values, STATE, en.link.state);
  const edits = values['edits'];
  if (!Array.isArray(edits) || edits.length > MOST_EDITS) throw new LinkError(en.link.edits(MOST_EDITS));
  return { ...read, edits: edits.map(readItem) } as Shared;
}

function readItem(item: unknown): { edit: Edit; on: boolean } {
  const { edit, on } = isObject(item) ? item : {};
  if (!isObject(edit) || typeof on !== 'boolean') throw new LinkError(en.link.edit);
  const kind = edit['kind'];
  if (typeof kind !== 'string' || !Object.hasOwn(EDITS, kind)) {
    const got = JSON.stringify(kind)?.slice(0, 40);
    throw new LinkError(en.link.kind(got, Object.keys(EDITS).join(', ')));
  }
  const checks = { ...EDITS[kind as EditKind], strength: isShare };
  return { edit: { kind, ...checked(edit, checks, kind) } as unknown as Edit, on };
}

function checked(values: Values, checks: Record<string, Check>, what: string): Values {
  const entries = Object.entries(checks).map(([name, fits]) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (fits(value)) return [name, value];
    const got = JSON.stringify(value)?.slice(0, 40) ?? en.link.nothing;
    throw new LinkError(en.link.field(what, name, got));
  });
  return Object.fromEntries(entries) as Values;
}

function orNull(check: Check): Check {
  return (x) => x === null || check(x);
}

function listOf(check: Check, most: number): Check {
  return (x) => Array.isArray(x) && x.length <= most && x.every(check);
}

function isObject(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
