import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [svelte({ configFile: false })],
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
