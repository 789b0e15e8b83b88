import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, expect, it } from "vitest";
import { History, type NewPrediction } from "../../src/server/history.ts";

const dir = mkdtempSync(join(tmpdir(), "keepsight-history-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it("a database that another program has locked is not called damaged", () => {
	const history = new History(dir, { days: 1, bytes: 1e9, images: false });
	const prediction: NewPrediction = {
		name: null,
		task: "a",
		verdict: "good",
		score: 1,
		threshold: 2,
		memoryVersion: 1,
		latencyMs: 3,
		reason: null,
	};
	const add = () => history.add(prediction, new Uint8Array(1), Date.now());
	const other = new Database(join(dir, "history.sqlite"));
	try {
		other.exec("begin immediate");
		expect(add).toThrow(
			/database is locked\. Close the other program that has it open\.$/,
		);
		other.exec("rollback");
		expect(add()).toBe(1);
	} finally {
		other.close();
		history.close();
	}
});
