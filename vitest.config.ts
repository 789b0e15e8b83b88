import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		testTimeout: 30_000,
		hookTimeout: 60_000,
		expect: { poll: { timeout: 10_000 } }, // how long a poll may take on a busy machine, not how long it takes
		pool: "forks", // onnxruntime must not share a process with a worker that is terminated
		maxWorkers: 3, // on two cores: many tests wait, for a browser, a server, a clock
	},
});
