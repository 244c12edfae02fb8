/** What the instrument of the heads says. */
export const en = {
  heads: {
    title: 'Switch heads off',
    text: 'Sentence',
    layer: 'layer',
    switches: 'Heads of this layer: on, or switched off (blend at zero)',
    head: (head: string, on: boolean) => `head ${head}, ${on ? 'on' : 'off'}`,
    only: 'only this one',
    all: 'all on',
    waiting: 'Asking the model …',
    answer: (word: string, p: string) => `The answer is ${word} with ${p}.`,
    from: (was: string, now: string) => `The answer goes from ${was} to ${now}.`,
    caption: 'The answers that are followed',
    columns: { token: 'answer', before: 'all heads', after: 'now', logit: 'logit, now' },
  },
};
