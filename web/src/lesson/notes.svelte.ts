/** What the page has to say about its connection: a lost server, a model on its way. */
import type { Status } from '../core/transport';

export class Notes {
  status: Status = $state('connecting');
  loading: { name: string; done: number; total: number } | null = $state.raw(null);
}
