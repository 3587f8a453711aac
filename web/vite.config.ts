import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The binary embeds `dist` and may be served below any path, so every address is relative.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
  server: { proxy: { "/api": process.env["SYNCLINE_URL"] ?? "http://127.0.0.1:7373" } },
});
