/** Put into the page before its own script: counts, watches and times what a person would see. */
window.bench = {
  bytes: 0,
  took: {},
  frames: [],
  work: [],
  typedAt: 0,

  /** The beginning of the next frame. */
  frame() {
    return new Promise(requestAnimationFrame);
  },

  /** In a frame: the moment after it has been laid out and painted. */
  painted() {
    const { port1, port2 } = new MessageChannel();
    const after = new Promise((done) => (port1.onmessage = () => done(performance.now())));
    port2.postMessage(null);
    return after;
  },

  /** When the picture has this many characters and has been painted. */
  async until(length) {
    const main = document.querySelector('main');
    do await this.frame();
    while (Number(main.dataset.picture) !== length);
    return this.painted();
  },

  watchTyping() {
    addEventListener('input', () => (this.typedAt = performance.now()), { capture: true });
  },

  /** Milliseconds between frames, from now until `watching` is false. */
  watchFrames() {
    this.frames = [];
    this.watching = true;
    let last = null;
    const tick = (now) => {
      if (last !== null) this.frames.push(now - last);
      last = now;
      if (this.watching) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  },

  /** Our work for each pointer move: from its first listener to its last, with all that follows from those between. */
  watchWork() {
    let start = 0;
    addEventListener('pointermove', () => (start = performance.now()), { capture: true });
    addEventListener('pointermove', () => this.work.push(performance.now() - start));
  },

  async openHead(head) {
    const box = document.querySelector('[data-testid=head-address]');
    box.value = head;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    const start = performance.now();
    box.form.requestSubmit();
    const main = document.querySelector('main');
    do await this.frame();
    while (main.dataset.head !== head);
    return (await this.painted()) - start;
  },
};

const Plain = WebSocket;
window.WebSocket = class extends Plain {
  asked = {};

  constructor(...given) {
    super(...given);
    this.addEventListener('message', ({ data }) => {
      bench.bytes += data.byteLength ?? data.length;
      if (typeof data !== 'string') return;
      const { lane, part, id } = JSON.parse(data);
      if (part === 'done') (bench.took[lane] ??= []).push(performance.now() - this.asked[id]);
    });
  }

  send(data) {
    this.asked[JSON.parse(data).id] = performance.now();
    super.send(data);
  }
};
