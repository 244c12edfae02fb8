/** Addresses ↔ pages. Where no server runs there is one file only, and pages are told apart behind the question mark. */

export type Route = { page: 'course' } | { page: 'lesson'; module: string } | { page: 'playground' } | { page: 'atlas' };

const MODULE = /^[0-9]{1,3}[a-z]?$/;

/** The page that an address names, or null where it names none of ours. */
export function parse(url: URL, root: URL): Route | null {
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname)) return null;
  const path = url.pathname.slice(root.pathname.length).replace(/\/$/, '');
  if (path === 'playground') return { page: 'playground' };
  if (path === 'course') return { page: 'course' };
  if (path === 'atlas') return { page: 'atlas' };
  if (path.startsWith('lesson/')) return lesson(path.slice('lesson/'.length));
  if (path !== '' && path !== 'index.html') return null;
  // Links to the playground were given out for this address.
  if (url.searchParams.has('playground') || url.hash.startsWith('#1.')) return { page: 'playground' };
  if (url.searchParams.has('atlas')) return { page: 'atlas' };
  return url.searchParams.has('lesson') ? lesson(url.searchParams.get('lesson')!) : { page: 'course' };
}

/** A page's address; `flat` where files and no server stand behind it. */
export function addressOf(route: Route, root: URL, flat: boolean): string {
  const query = { course: '', playground: '?playground', atlas: '?atlas', lesson: `?lesson=${route.page === 'lesson' ? route.module : ''}` };
  const path = { course: 'course', playground: 'playground', atlas: 'atlas', lesson: `lesson/${route.page === 'lesson' ? route.module : ''}` };
  return flat ? `${root.href}${query[route.page]}` : new URL(path[route.page], root).href;
}

export function sameRoute(one: Route, other: Route): boolean {
  return one.page === other.page && (one.page !== 'lesson' || (other.page === 'lesson' && one.module === other.module));
}

function lesson(module: string): Route | null {
  return MODULE.test(module) ? { page: 'lesson', module } : null;
}
