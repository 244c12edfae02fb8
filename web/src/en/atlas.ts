/** Every English sentence of the atlas: its page, and what the playground says of it. A translation is another file of this shape. */

/** Universal Dependencies in words that need no grammar book. */
const RELATIONS: Record<string, string> = {
  acl: 'noun clause', 'acl:relcl': 'relative clause', advcl: 'adverbial clause', advmod: 'adverb', amod: 'adjective',
  appos: 'apposition', aux: 'auxiliary', 'aux:pass': 'passive auxiliary', case: 'preposition', cc: 'conjunction',
  ccomp: 'object clause', compound: 'compound part', conj: 'conjunct', cop: 'copula',
  csubj: 'subject clause', dep: 'dependent', det: 'determiner', expl: 'expletive', fixed: 'phrase part',
  flat: 'name part', iobj: 'indirect object', list: 'list item', mark: 'clause marker', nmod: 'noun modifier',
  'nmod:poss': 'possessor', nsubj: 'subject', 'nsubj:pass': 'passive subject', nummod: 'number', obj: 'object', obl: 'oblique',
  'obl:npmod': 'adverbial noun', 'obl:tmod': 'time', parataxis: 'parataxis', punct: 'punctuation mark', vocative: 'vocative',
  xcomp: 'open complement',
}; // prettier-ignore

const PLAIN: Record<string, string> = {
  layer: 'layer',
  'position:self': 'looks at itself',
  'position:previous': 'looks at the token before',
  'position:next': 'looks at the token behind',
  'position:first': 'looks at the first token',
  coreference: 'finds a pronoun’s antecedent',
  'repeats:induction': 'looks at what followed this token last time',
  'repeats:duplicate': 'looks at the same token, earlier',
  'repeats:previous': 'looks at the token before, in random tokens',
  'sum:distance': 'mean distance',
  'sum:entropy': 'entropy of the weights',
  'sum:mass:first': 'weight on the first token',
  'sum:mass:self': 'weight on itself',
  'sum:mass:previous': 'weight on the token before',
  'sum:mass:next': 'weight on the token behind',
  'sum:write': 'size of the write',
  'sum:share': 'write, as a share of the residual',
  'sum:copying': 'copying score of the weights',
};

const BASELINES: Record<string, string> = {
  chance: 'chance',
  nearest: 'nearest candidate',
  'nearest agreeing': 'nearest that agrees',
  offset: 'best fixed distance',
  control: 'random tokens not repeated',
};

/** What a head does that is good at this, as the end of a sentence that begins with the head. */
function axis(name: string): string {
  const syntax = /^syntax:(.+?):(head|dependent)(:forward)?$/.exec(name);
  if (syntax) {
    const relation = RELATIONS[syntax[1]!] ?? syntax[1]!;
    // The side says what the later word is; the one that looks is the later word, or forward the earlier one.
    const looksUp = (syntax[2] === 'dependent') !== (syntax[3] !== undefined);
    const ahead = syntax[3] ? ', looking ahead' : '';
    return looksUp ? `finds what the ${relation} belongs to${ahead}` : `finds a word’s ${relation}${ahead}`;
  }
  const clark = /^clark:(.+?):(normal|transposed)$/.exec(name);
  if (clark) {
    const relation = RELATIONS[clark[1]!] ?? clark[1]!;
    return clark[2] === 'normal' ? `${relation} to word (Clark)` : `word to ${relation} (Clark)`;
  }
  return PLAIN[name] ?? name.replace(/^sum:/, '');
}

export const en = {
  axis,
  baseline: (name: string, offset?: number) => (BASELINES[name] ?? name) + (offset === undefined ? '' : ` (${offset > 0 ? '+' : ''}${offset})`.replace('-', '−')),
  title: 'Atlas',
  pageTitle: 'Atlas · QKV Lab',
  promise: 'What every head of a model does, measured over a corpus, beside what does as well without a model.',
  loading: 'Loading the atlas …',
  lost: 'The server is gone: reconnecting. What you see stays.',
  failed: (message: string) => `The atlas could not be loaded: ${message}`,
  none: {
    title: 'There is no atlas here yet',
    say: 'An atlas is made once for a model, over texts or treebanks of yours, at about the speed of reading:',
    command: (model: string) => `qkvlab atlas scan ${model} -o my-run`,
    then: 'When it is finished, reload this page. A run elsewhere is shown with',
    show: (model: string) => `qkvlab play ${model} --atlas my-run`,
  },
  model: 'Atlas of',
  choice: (badge: string, documents: number, tokens: string) => `${badge} · ${documents} ${documents === 1 ? 'document' : 'documents'}, ${tokens} tokens`,
  roles: {
    title: 'Named heads',
    hint: 'A head is named for what it does on 30 places or more, if its 95 % interval lies above every baseline’s and above the shuffled twin’s.',
    none: 'No head of this run is named: none is surely better than the baselines.',
    chip: (role: string, count: number) => `${role} (${count})`,
    all: (more: number) => `${more} more`,
    fewer: 'fewer',
  },
  map: {
    title: 'Every head as a point',
    x: 'Across',
    y: 'Up',
    colour: 'Colour',
    groups: { named: 'Heads are named for', measures: 'Measures', few: 'Measures with few places', sums: 'Quantities' },
    canvas: 'Every head as a point. Arrow keys go to the nearest head on that side; the ranked table below is its text.',
    point: (head: string, x: string, y: string) => `${head} · ${x} · ${y}`,
    noPoint: (head: string) => `${head}: no number on these axes`,
    missing: (count: number) => `${count} heads have no number on these axes and are not drawn.`,
    dashed: 'Dashed: what does as well without a model, with its 95 % interval.',
    ringed: 'Ringed: named for what is on an axis.',
    dimmed: 'Ringed: the heads of the chosen role.',
  },
  table: {
    title: 'Ranked',
    by: 'Rank by',
    caption: (axis: string) => `Heads by: ${axis}`,
    columns: {
      head: 'head',
      named: 'named',
      bar: 'value and interval',
      value: 'value',
      interval: '95 %',
      whole: 'all documents',
      selection: 'other half',
      twin: 'twin',
      control: 'no repeat',
      ablation: 'without it',
      mean: 'mean',
      sd: 'spread',
    },
    hints: {
      value: 'On the documents reported on',
      whole: 'On all documents',
      selection: 'On the documents that heads and distances were chosen on',
      twin: 'The same head of the model with its weights shuffled',
      control: 'The same head on random tokens that do not repeat',
      ablation: 'What the loss changes at this role’s places when the head is replaced by its mean',
    },
    baselines: 'What does as well without a model:',
    sort: (column: string) => `Sort by ${column}`,
    more: (all: number) => `Show all ${all} heads`,
    named: 'named',
    items: (n: number, whole: number) => `${n} places in the documents reported on, ${whole} in all.`,
  },
  card: {
    title: (head: string) => `Head ${head}`,
    where: (layer: string, head: string, kv: string) => `layer ${layer}, query head ${head}, reads K/V head ${kv}`,
    none: 'Choose a head: by a point, in the table, or by its address.',
    address: 'Head',
    noSuch: (typed: string, layers: number, heads: number) => `No head ${typed}: layers go from 0 to ${layers - 1}, heads from 0 to ${heads - 1}`,
    named: 'Named for',
    unnamed: 'Named for nothing: it is not surely better than the baselines at anything that was measured.',
    measures: 'What it does',
    all: 'All its measures',
    sums: 'Quantities',
    place: (place: number, of: number) => `#${place} of ${of}`,
    interval: (low: string, high: string) => `${low} to ${high}`,
    without: (unit: string) => `Without it: what the loss changes, in ${unit}, when the head is replaced by its mean`,
    withoutOther: (unit: string) => `Without it: what changes, in ${unit}, when the head is replaced by its mean`,
    withoutColumns: { role: 'at the places of', there: 'there', elsewhere: 'elsewhere', random: 'without another head' },
    random: (head: string) => `(${head})`,
    noAblation: 'What is lost without it was not measured.',
    open: 'Open the head in the playground',
    cannotOpen: 'This model is not on the list of the server: start it with qkvlab play to open a head.',
  },
  examples: {
    title: 'In context',
    best: 'most weight on the right word',
    worst: 'least weight on the right word',
    sample: 'some places of the text, the same for every head',
    samples: 'What it looks at elsewhere',
    none: 'This atlas came without texts: it holds figures only.',
    missing: 'No example of this head was kept.',
    weight: (weight: string, right: boolean) => (right ? `${weight} on the right word` : `${weight} on the word it looks at most`),
    open: 'Open in the playground',
    legend: { query: 'looks', right: 'right', looked: 'looked at instead' },
    said: (query: string, looked: string, right: string | null) => `${query} looks at ${looked}${right === null ? '' : `; right is ${right}`}`,
    outside: 'a token before or after this text',
    waiting: 'Loading the examples …',
  },
  run: {
    title: 'What was found',
    how: 'What was measured',
    model: 'Model',
    files: 'Texts',
    counts: (documents: number, tokens: string) => `${documents} ${documents === 1 ? 'document' : 'documents'}, ${tokens} tokens`,
    window: 'Window',
    tokens: (n: number) => `${n} tokens`,
    split: 'Halves',
    halves: 'heads and distances were chosen on one half of the documents, all values are of the other',
    whole: 'none: everything was chosen and reported on all documents',
    seed: 'Seed',
    twin: 'Twin',
    hasTwin: 'the same scan of the model with its weights shuffled',
    noTwin: 'not scanned: heads are named without it',
    causal: 'Without the head',
    hasCausal: (windows: number, best: number | null) =>
      `${best === null ? 'every head that has a role' : `the ${best} best heads of each role`} ablated, in ${windows} windows`,
    noCausal: 'not measured',
    skipped: 'Left out',
    problems: (n: number) => `${n} problems of the treebank`,
    reading: 'How to read this',
    lines: [
      'A value is the share of places where the head looks most at the right word; the thin bar is its 95 % interval over documents, the ticks are baselines: what does as well without looking at the model.',
      'A head that scores high finds the word. Whether the model needs it for that, only “without it” tells.',
    ],
  },
  heads: {
    mode: 'atlas',
    modeHint: 'What every head does, measured over a corpus',
    by: 'Colour by',
    legend: (badge: string, documents: number) => `${badge}, ${documents} documents`,
    scale: (to: string) => `from 0 to ${to}`,
    toAtlas: 'Open the atlas',
    column: (axis: string) => `atlas: ${axis}`,
    named: (roles: string) => `${roles} · named by the atlas`,
  },
  lesson: 'All heads and measures: the atlas',
};

export type Say = typeof en;
