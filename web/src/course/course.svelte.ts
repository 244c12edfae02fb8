/** The course as every page of it sees it: its map, and how far this person has come. */
import { courseFile } from '../place';
import type { CourseMap, Module } from './map';
import { readProgress, writeProgress, type Keeper, type Progress } from './progress';

export class Course {
  map: CourseMap | null = $state.raw(null);
  error: string | null = $state(null);
  progress: Progress = $state.raw({ done: [], last: null });
  /** The browser keeps nothing: progress lasts as long as the page. */
  blocked = $state(false);

  here: Module[] = $derived(this.map?.modules.filter((module) => module.here) ?? []);
  /** The lesson this edition leads to: the last one of the map. */
  featured: Module | null = $derived(this.here.at(-1) ?? null);
  /** Where the lesson tab leads: the lesson opened last, else the featured one. */
  next: string | null = $derived(
    this.here.find(({ module }) => module === this.progress.last)?.module ?? this.featured?.module ?? null,
  );

  #keeper: () => Keeper;
  #loading: Promise<void> | null = null;

  constructor(keeper: () => Keeper = () => localStorage) {
    this.#keeper = keeper;
    const kept = readProgress(keeper);
    if (kept) this.progress = kept;
    else this.blocked = true;
  }

  /** Bring the map, once. */
  load(): Promise<void> {
    return (this.#loading ??= fetch(courseFile('map.json'))
      .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`map.json: ${response.status}`))))
      .then((map: CourseMap) => void (this.map = map))
      .catch((error: Error) => {
        this.error = error.message;
        this.#loading = null;
      }));
  }

  isDone(module: string): boolean {
    return this.progress.done.includes(module);
  }

  mark(module: string, done: boolean): void {
    const others = this.progress.done.filter((other) => other !== module);
    this.#keep({ ...this.progress, done: done ? [...others, module] : others });
  }

  opened(module: string): void {
    if (this.progress.last !== module) this.#keep({ ...this.progress, last: module });
  }

  reset(): void {
    this.#keep({ done: [], last: null });
  }

  #keep(progress: Progress): void {
    this.progress = progress;
    this.blocked = !writeProgress(this.#keeper, progress);
  }
}

export const course = new Course();
