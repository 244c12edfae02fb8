/** Put into the lesson's page behind page.js: when its parts were first painted, and how soon its instruments answer. */
Object.assign(window.bench, {
  /** Milliseconds from the beginning of the navigation to the frame that shows what is asked for. */
  async seen(selector) {
    while (!document.querySelector(selector)) await this.frame();
    return this.painted();
  },

  /** From here on, by themselves: a question from outside would come too late. */
  watchOpening() {
    this.title = this.seen('h1');
    this.numbers = this.seen('[data-instrument=residual] [data-cosine]');
  },

  /** When the layer's figure has become another one. */
  async answered(before) {
    const at = document.querySelector('[data-instrument=residual] [data-cosine]');
    while (at.dataset.cosine === before) await this.frame();
    return this.painted();
  },

  /** Another sentence in the card catalogue: milliseconds to its own cards. */
  async cards(text) {
    const catalogue = document.querySelector('[data-instrument=catalogue]');
    const box = catalogue.querySelector('input');
    box.value = text;
    const start = performance.now();
    box.dispatchEvent(new Event('input', { bubbles: true }));
    do await this.frame();
    while (!catalogue.querySelector('[data-testid=cards]'));
    return (await this.painted()) - start;
  },
});
if (window.parent === window) bench.watchOpening();
