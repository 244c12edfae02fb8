/** Light or dark, and the palette a canvas paints with: read from the style sheet, so that colours live in one place. */

export interface Palette {
  paper: string;
  sheet: string;
  well: string;
  track: string;
  line: string;
  edge: string;
  ink: string;
  soft: string;
  q: string;
  k: string;
  v: string;
  qText: string;
  kText: string;
  vText: string;
  qWash: string;
  kWash: string;
  vWash: string;
  against: string;
  edited: string;
  /** Washes that part neighbouring regions and mean nothing else. */
  land1: string;
  land2: string;
  land3: string;
  land4: string;
  land5: string;
}

const NAMES: [keyof Palette, string][] = [
  ['paper', '--paper'],
  ['sheet', '--sheet'],
  ['well', '--well'],
  ['track', '--track'],
  ['line', '--line'],
  ['edge', '--edge'],
  ['ink', '--ink'],
  ['soft', '--soft'],
  ['q', '--q'],
  ['k', '--k'],
  ['v', '--v'],
  ['qText', '--q-text'],
  ['kText', '--k-text'],
  ['vText', '--v-text'],
  ['qWash', '--q-wash'],
  ['kWash', '--k-wash'],
  ['vWash', '--v-wash'],
  ['against', '--against'],
  ['edited', '--edited'],
  ['land1', '--land-1'],
  ['land2', '--land-2'],
  ['land3', '--land-3'],
  ['land4', '--land-4'],
  ['land5', '--land-5'],
];

export type Choice = 'light' | 'dark' | 'system';
const KEPT = 'qkvlab.theme';

/** What storage holds, or null where it is blocked. */
export function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keep a value, if storage is allowed. */
export function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A private window: the choice lasts as long as the page.
  }
}

class Theme {
  choice: Choice = $state('system');
  #systemDark = $state(false);
  dark = $derived(this.choice === 'system' ? this.#systemDark : this.choice === 'dark');
  palette: Palette = $state.raw({} as Palette);

  /** Follow the system and the person's choice from now on. */
  start(): void {
    const media = matchMedia('(prefers-color-scheme: dark)');
    this.#systemDark = media.matches;
    media.addEventListener('change', (event) => (this.#systemDark = event.matches));
    const kept = stored(KEPT);
    if (kept === 'light' || kept === 'dark') this.choice = kept;
    $effect.root(() => {
      $effect.pre(() => this.#apply(this.dark));
    });
    this.#apply(this.dark);
  }

  toggle(): void {
    this.choice = this.dark ? 'light' : 'dark';
    store(KEPT, this.choice);
  }

  #apply(dark: boolean): void {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    const style = getComputedStyle(document.documentElement);
    this.palette = Object.fromEntries(
      NAMES.map(([name, property]) => [name, style.getPropertyValue(property).trim()]),
    ) as unknown as Palette;
  }
}

export const theme = new Theme();
