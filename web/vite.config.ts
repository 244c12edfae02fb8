import { svelte } from '@sveltejs/vite-plugin-svelte';
import { existsSync, readFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** In development: the compiled course, where it was built, else the small one of the tests. */
const course: Plugin = {
  name: 'course',
  configureServer(server) {
    server.middlewares.use('/course/', (request, response, next) => {
      const name = decodeURIComponent(new URL(request.url ?? '/', 'http://page').pathname).replaceAll('..', '');
      const file = ['../src/qkvlab/server/page/course', 'tests/lesson'].map((folder) => `${folder}${name}`).find((path) => existsSync(path) && name !== '/');
      if (!file) return next();
      response.end(readFileSync(file));
    });
  },
};

export default defineConfig({
  plugins: [svelte({ configFile: false }), course],
  base: './', // the same page stands at the root of a server and in any folder of a static host
  build: {
    outDir: '../src/qkvlab/server/page',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the content-security policy allows no data: addresses
    modulePreload: { polyfill: false },
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/ws': { target: 'http://127.0.0.1:7400', ws: true, changeOrigin: true, rewriteWsOrigin: true } },
  },
  test: { include: ['tests/**/*.test.ts'], testTimeout: 30_000 },
});
