/** Which page is shown: from the address, and into it. Links are ordinary links; the ones to our pages load nothing anew. */
import { recorded, root } from './place';
import { addressOf, parse, sameRoute, type Route } from './route';

interface Kept {
  /** How far down the page was when it was left. */
  scroll?: number;
}

class Router {
  route: Route = $state.raw({ page: 'course' });
  /** The person came here by a link of ours: the new page's heading takes the focus, so that a screen reader says it. */
  #travelled = false;
  #scrollTo = 0;

  /** Follow the address from now on. Returns what ends it. */
  start(): () => void {
    this.#take();
    history.scrollRestoration = 'manual';
    const back = (event: PopStateEvent) => this.#moved(event.state as Kept | null);
    const changed = () => this.#take();
    const clicked = (event: MouseEvent) => this.#clicked(event);
    addEventListener('popstate', back);
    addEventListener('hashchange', changed);
    document.addEventListener('click', clicked);
    return () => {
      removeEventListener('popstate', back);
      removeEventListener('hashchange', changed);
      document.removeEventListener('click', clicked);
    };
  }

  href(route: Route): string {
    return addressOf(route, root, recorded);
  }

  go(href: string): void {
    history.replaceState({ ...(history.state as Kept | null), scroll: scrollY }, '');
    history.pushState({}, '', href);
    this.#travelled = true;
    this.#scrollTo = 0;
    this.#take();
  }

  /** A page is there, with its heading. */
  arrived(title: string, heading: HTMLElement): void {
    document.title = title;
    if (!this.#travelled) return;
    this.#travelled = false;
    heading.focus({ preventScroll: true });
    const target = location.hash.startsWith('#1.') ? null : document.getElementById(location.hash.slice(1));
    if (target && this.#scrollTo === 0) target.scrollIntoView();
    else scrollTo({ top: this.#scrollTo, behavior: 'instant' });
  }

  #take(): void {
    const route = parse(new URL(location.href), root);
    if (route && !sameRoute(route, this.route)) this.route = route;
  }

  #moved(kept: Kept | null): void {
    const route = parse(new URL(location.href), root);
    if (route && !sameRoute(route, this.route)) [this.#travelled, this.#scrollTo] = [true, kept?.scroll ?? 0];
    this.#take();
  }

  #clicked(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download')) return;
    const route = parse(new URL(link.href), root);
    if (!route || (sameRoute(route, this.route) && new URL(link.href).hash)) return;
    event.preventDefault();
    if (!sameRoute(route, this.route)) this.go(link.href);
  }
}

export const router = new Router();

/** On the heading of a page: names the document, and takes the focus after a link of ours. */
export function heading(title: string): (element: HTMLElement) => void {
  return (element) => router.arrived(title, element);
}
