/** A frame as high as what stands in it: the page scrolls, and nothing in it scrolls by itself. */
export function fitted(frame: HTMLIFrameElement): () => void {
  let sizes: ResizeObserver | null = null;
  const fit = () => {
    sizes?.disconnect();
    const page = frame.contentDocument;
    if (!page?.body) return;
    sizes = new ResizeObserver(() => (frame.style.height = `${Math.ceil(page.body.getBoundingClientRect().height) + 1}px`));
    sizes.observe(page.body);
  };
  frame.addEventListener('load', fit);
  return () => {
    sizes?.disconnect();
    frame.removeEventListener('load', fit);
  };
}
