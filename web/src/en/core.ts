/** Every English sentence of the core: edits in words, what is wrong with a link or a request. A translation is another file of this shape. */

export const en = {
  edit: {
    shiftKey: (token: string, kvHead: string) => `drag key ${token} in K/V ${kvHead}`,
    swapValue: (token: string, source: string, kvHead: string) => `${token} hands over the value of ${source} in K/V ${kvHead}`,
    shareKv: (layers: string, heads: number) => `share K/V in ${layers}${heads > 1 ? ` as ${heads}` : ''}`,
    shiftQuery: (query: string, head: string) => `drag q of ${query} in ${head}`,
    aimQuery: (query: string, key: string, head: string) => `aim q of ${query} at ${key} in ${head}`,
    tie: (where: string) => `tie keys to queries in ${where}`,
    stopRotation: (where: string) => `stop rotation in ${where}`,
    mute: (key: string, query: string | null, where: string) => `mute ${key}${query === null ? '' : ` for ${query}`} in ${where}`,
    strengthen: (amount: number, where: string, query: string, key: string) =>
      `${amount < 0 ? 'weaken' : 'strengthen'} by ${Math.abs(amount)} in ${where}: ${query} → ${key}`,
    scaleScores: (factor: number, where: string) => `scores × ${factor} in ${where}`,
    ablate: (where: string, to: 'zero' | 'mean' | 'vector') => `ablate ${where}${{ zero: '', mean: ' to its mean', vector: ' to a vector' }[to]}`,
    everywhere: 'all heads',
    layer: (layer: string | number) => `layer ${layer}`,
    layers: (first: number, last: number) => `layers ${first}–${last}`,
  },
  link: {
    wouldBeLong: (length: number, most: number) => `the link would have ${length} characters, over ${most}. Export a file instead`,
    notOurs: 'the link is not one of this version of the page',
    long: (length: number, most: number) => `the link has ${length} characters, over ${most}`,
    damaged: 'the link is damaged: part of it may be missing',
    large: (most: number) => `the state is larger than ${most} MiB, too much for a link`,
    characters: 'the link has characters that belong to no link',
    edits: (most: number) => `the link needs a list of at most ${most} edits`,
    edit: 'an edit of the link is malformed',
    kind: (got: string | undefined, known: string) => `the link has an edit ${got}; known are ${known}`,
    state: 'the state',
    field: (what: string, name: string, got: string) => `${what} in the link has no valid ${name}: ${got}`,
    nothing: 'nothing',
  },
  request: {
    large: (most: number) => `the request is larger than ${most} MiB; shorten the text or remove edits`,
  },
};
