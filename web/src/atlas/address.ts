/** What is chosen on the atlas page, as the fragment of its address, and back. An address comes from anyone. */

export interface Chosen {
  atlas: string | null;
  head: string | null;
  role: string | null;
  x: string | null;
  y: string | null;
  colour: string | null;
  order: string | null;
}

const NAMES = ['atlas', 'head', 'role', 'x', 'y', 'colour', 'order'] as const;
const LONGEST = 200;

export function readFragment(fragment: string): Chosen {
  const said = new URLSearchParams(fragment.replace(/^#/, ''));
  const read = (name: string) => {
    const value = said.get(name);
    return value !== null && value.length <= LONGEST ? value : null;
  };
  return Object.fromEntries(NAMES.map((name) => [name, read(name)])) as unknown as Chosen;
}

/** Without `#`; what is not chosen stays out. */
export function toFragment(chosen: Partial<Chosen>): string {
  const said = new URLSearchParams();
  for (const name of NAMES) if (chosen[name]) said.set(name, chosen[name]);
  return said.toString().replaceAll('%3A', ':');
}
