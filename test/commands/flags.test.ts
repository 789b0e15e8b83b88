/** Which Redis a command is to use, and what is said where the flags do not fit together. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { redisUrl } from "../../src/commands/flags.ts";

afterEach(() => void vi.unstubAllEnvs());

describe("the address of a Redis", () => {
	it("is that of the flag, else of the environment where the flag has none, else none", () => {
		vi.stubEnv("KEEPSIGHT_REDIS", "redis://here");
		expect(redisUrl({ redis: "redis://there" }, "x")).toBe("redis://there");
		expect(redisUrl({ redis: true }, "x")).toBe("redis://here");
		expect(redisUrl({}, "x")).toBeNull();
		vi.stubEnv("KEEPSIGHT_REDIS", "");
		expect(() => redisUrl({ redis: true }, "x")).toThrow(/KEEPSIGHT_REDIS/);
	});
	it("is no folder that stood behind the flag", () => {
		expect(() => redisUrl({ redis: "pictures/" }, "x")).toThrow(
			/--redis was given "pictures\/", which is no address; put another flag after it/,
		);
	});
	it("is asked for by flags that mean nothing without", () => {
		expect(() => redisUrl({ queue: "a" }, "x")).toThrow(/--queue goes with/);
		expect(() => redisUrl({}, "x", { "--store": "s3://b" })).toThrow(
			/--store goes with --redis/,
		);
		expect(redisUrl({}, "x", { "--store": undefined })).toBeNull();
	});
});
