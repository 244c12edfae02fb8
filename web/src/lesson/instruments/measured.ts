/** The measured specialists: their figures as the course ships them, and a sentence of our own to see each at work. */

export type Kind = 'position' | 'syntax' | 'pronouns';

/** `course/figures.json`, as the build writes it. */
export type Figures = Record<string, { value: unknown; shown: string }>;

interface Example {
  kind: Kind;
  text: string;
  /** The word that looks. */
  query: string;
}

const CLOCK = 'The old clock on the wall stopped at noon';

/** Written for this page; nothing of the treebank is kept. */
export const EXAMPLES: Record<string, Example> = {
  previous: { kind: 'position', text: CLOCK, query: ' clock' },
  self: { kind: 'position', text: CLOCK, query: ' wall' },
  first: { kind: 'position', text: CLOCK, query: ' noon' },
  subject: { kind: 'syntax', text: 'The tall man in the garden sings', query: ' sings' },
  syntax_1: { kind: 'syntax', text: 'The girl slowly opened the small blue door', query: ' door' },
  syntax_2: { kind: 'syntax', text: 'They sell fresh bread and white cheese', query: ' cheese' },
  syntax_3: { kind: 'syntax', text: 'The keys lay under a heavy stone', query: ' stone' },
  syntax_4: { kind: 'syntax', text: 'The soup is still very hot', query: ' hot' },
  pronoun: { kind: 'pronouns', text: 'Anna thanked Tom because he', query: ' he' },
};

export interface Interval {
  value: number;
  low: number;
  high: number;
}

export interface Specialist extends Example, Interval {
  name: string;
  head: string;
  /** Items measured. */
  n: number;
  /** A relation's name with its side; null where it is none. */
  relation: string | null;
  /** The fixed offset that a relation is held against, in words. */
  distance: number | null;
  baselines: (Interval & { name: 'chance' | 'offset' | 'nearest' | 'agreeing' })[];
}

const BASELINES = ['chance', 'offset', 'nearest', 'agreeing'] as const;

/** Those of a kind whose figures are all there, in order. */
export function specialists(figures: Figures, kind: Kind): Specialist[] {
  const names = Object.keys(EXAMPLES).filter((name) => EXAMPLES[name]!.kind === kind);
  return names.map((name) => readSpecialist(figures, name)).filter((one) => one !== null);
}

function readSpecialist(figures: Figures, name: string): Specialist | null {
  const of = (part: string) => figures[`spec_${name}_${part}`]?.value;
  const [head, n, whole] = [of('head'), of('n'), interval(figures, `spec_${name}`)];
  if (typeof head !== 'string' || typeof n !== 'number' || !whole) return null;
  const [relation, distance] = [of('relation'), of('distance')];
  const baselines = BASELINES.flatMap((baseline) => {
    const found = interval(figures, `spec_${name}_${baseline}`);
    return found ? [{ name: baseline, ...found }] : [];
  });
  return {
    ...EXAMPLES[name]!,
    ...whole,
    name,
    head,
    n,
    relation: typeof relation === 'string' ? relation : null,
    distance: typeof distance === 'number' ? distance : null,
    baselines,
  };
}

function interval(figures: Figures, stem: string): Interval | null {
  const [value, low, high] = ['value', 'low', 'high'].map((end) => figures[`${stem}_${end}`]?.value);
  return typeof value === 'number' && typeof low === 'number' && typeof high === 'number' ? { value, low, high } : null;
}
