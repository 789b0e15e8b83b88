/**
 * What was scored and what operators said of it, in an SQLite database beside the memory: bounded by age and size, readable with any
 * SQLite tool. Written as it happens (WAL: a killed process loses nothing, a machine without power at most the last moments).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import Database from "libsql";
import { z } from "zod";
import { fail, KeepsightError } from "../errors.ts";
import type { Verdict } from "../events.ts";
import { isAnomalous } from "../metrics/image.ts";
import { ensureFolder } from "../storage.ts";
import {
	type Check,
	check,
	feedback,
	type FeedbackReply,
	historyReply,
	type HistoryRow,
} from "./api.ts";

const format = 1;

/** By the beginning of SQLite's code: what to do where the file is whole. */
const remedies: Readonly<Record<string, string>> = {
	SQLITE_BUSY: "Close the other program that has it open",
	SQLITE_FULL: "Free some space on its disk; what was stored before is intact",
	SQLITE_READONLY: "Change the permissions of the file and of its folder",
	SQLITE_IOERR: "Check the disk and its cable or network",
};

const tables = `
create table predictions (
	id integer primary key autoincrement,
	at integer not null, -- ms since 1970
	name text,
	task text,
	verdict text not null,
	score real,
	threshold real,
	version integer not null,
	latency real not null, -- ms
	reason text,
	image blob -- as it was sent
) strict;
create index by_task on predictions (task, id);
create index by_verdict on predictions (verdict, id);
create index by_time on predictions (at);
create table feedback (
	id integer primary key autoincrement,
	at integer not null,
	prediction integer not null unique,
	task text,
	label text not null check (label in ('good', 'bad')),
	comment text not null,
	verdict text not null,
	score real,
	state text not null check (state in ('open', 'applied', 'withdrawn')),
	image blob
) strict;
create table checks (version integer primary key, result text not null) strict;
`;

/** A prediction that has no number yet. */
export type NewPrediction = Omit<
	HistoryRow,
	"id" | "at" | "image" | "feedback" | "anomalous"
>;

export interface HistoryLimits {
	readonly days: number;
	readonly bytes: number;
	/** Whether every picture is kept, while the limits allow. */
	readonly images: boolean;
}

/** A picture that is kept, with what is known of it. */
export interface KeptImage {
	readonly prediction: number;
	readonly task: string | null;
	readonly label: "good" | "bad" | null;
	readonly bytes: Uint8Array;
}

type Row = Readonly<Record<string, unknown>>;

/**
 * Text columns as the bytes they are, to be decoded here: the database's client ends the process where a damaged page holds a text that
 * is no UTF-8. "p.name" is then `name`.
 */
const texts = (...columns: readonly string[]): string =>
	columns
		.map((column) => `cast(${column} as blob) as ${column.split(".").at(-1)}`)
		.join(", ");

const utf8 = new TextDecoder("utf-8", { fatal: true });
const readable = (row: Row): Row =>
	Object.fromEntries(
		Object.entries(row).map(([name, value]) => [
			name,
			name !== "image" &&
			(value instanceof ArrayBuffer || value instanceof Uint8Array)
				? utf8.decode(value)
				: value,
		]),
	);

export class History {
	readonly path: string;
	readonly #db: Database.Database;
	readonly #limits: HistoryLimits;
	readonly #prepared = new Map<string, Database.Statement>();

	/** `dir`: null: in memory, until this process ends. */
	constructor(dir: string | null, limits: HistoryLimits) {
		this.path = dir === null ? ":memory:" : join(dir, "history.sqlite");
		this.#limits = limits;
		if (dir !== null) ensureFolder(dir);
		const fresh = !existsSync(this.path);
		let opened: Database.Database | null = null;
		try {
			opened = new Database(this.path, { timeout: 2000 });
			this.#db = opened;
			if (fresh) this.#db.pragma("auto_vacuum = incremental");
			this.#db.pragma("journal_mode = WAL");
			this.#db.pragma("synchronous = NORMAL");
			const found = this.#number("pragma user_version");
			if (found === 0 && this.#number("pragma page_count") <= 1)
				this.#db.exec(
					`begin immediate;${tables}pragma user_version = ${format};commit;`,
				);
			else if (found !== format)
				throw new Error(
					`it has format version ${found}, and this program reads ${format}`,
				);
			const verdict = this.#get("pragma quick_check(1)")?.quick_check;
			if (verdict !== "ok") throw new Error(String(verdict));
		} catch (error) {
			opened?.close();
			throw this.#failed(error);
		}
	}

	readonly #unusable = (problem: string, remedy?: string) =>
		fail("HISTORY_UNUSABLE", { path: this.path, problem, remedy });

	/** What SQLite says, and what to do: a full disk or a lock is no damage. */
	#failed(error: unknown): KeepsightError {
		if (error instanceof KeepsightError) return error;
		const { message, code = "" } = error as Error & { readonly code?: string };
		const [, remedy] =
			Object.entries(remedies).find(([start]) => code.startsWith(start)) ?? [];
		return this.#unusable(
			message.startsWith("ConnectionFailed") ? "it cannot be opened" : message,
			remedy,
		);
	}

	/** Rows as they were written, or the database is damaged where SQLite does not see it. */
	#checked<T>(schema: z.ZodType<T>, rows: readonly unknown[]): T[] {
		const parsed = z.array(schema).safeParse(rows);
		if (!parsed.success)
			throw this.#unusable("it holds a row that was not written so");
		return parsed.data;
	}

	#time(ms: unknown): string {
		const date = new Date(ms as number);
		if (Number.isNaN(date.getTime()))
			throw this.#unusable("it holds a time that is none");
		return date.toISOString();
	}

	/** What SQLite says of a damaged page comes with the first row that lies there. */
	#tried<T>(action: () => T): T {
		try {
			return action();
		} catch (error) {
			throw this.#failed(error);
		}
	}

	/** Its number. `image` is kept where that was chosen. */
	add(prediction: NewPrediction, image: Uint8Array, at: number): number {
		const { lastInsertRowid } = this.#run(
			"insert into predictions (at, name, task, verdict, score, threshold, version, latency, reason, image) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			at,
			prediction.name,
			prediction.task,
			prediction.verdict,
			prediction.score,
			prediction.threshold,
			prediction.memoryVersion,
			prediction.latencyMs,
			prediction.reason,
			this.#limits.images ? image : null,
		);
		return Number(lastInsertRowid);
	}

	/** The newest first. */
	list({
		task,
		verdict,
		before,
		limit,
	}: {
		readonly task?: string | undefined;
		readonly verdict?: Verdict | undefined;
		readonly before?: number | undefined;
		readonly limit: number;
	}): HistoryRow[] {
		const conditions: string[] = [];
		const values: (string | number)[] = [];
		const only = (condition: string, value: string | number | undefined) => {
			if (value === undefined) return;
			conditions.push(condition);
			values.push(value);
		};
		only("p.task = ?", task);
		only("p.verdict = ?", verdict);
		only("p.id < ?", before);
		return this.#rows(
			`${conditions.length > 0 ? `where ${conditions.join(" and ")}` : ""} order by p.id desc limit ?`,
			...values,
			limit,
		);
	}

	get(id: number): HistoryRow | null {
		return this.#rows("where p.id = ?", id)[0] ?? null;
	}

	/** null: not kept. */
	image(id: number): Uint8Array | null {
		const row = this.#get(
			"select coalesce((select image from feedback where prediction = ?), (select image from predictions where id = ?)) as image",
			id,
			id,
		);
		return (row?.image as Uint8Array | null | undefined) ?? null;
	}

	/** What is said of a prediction again replaces what was said before, unless that was learnt already. */
	addFeedback(
		row: HistoryRow,
		said: {
			readonly label: "good" | "bad";
			readonly comment: string;
			readonly task: string | null;
			readonly image: Uint8Array | null;
		},
		at: number,
	): FeedbackReply {
		this.#run(
			`insert into feedback (at, prediction, task, label, comment, verdict, score, state, image) values (?, ?, ?, ?, ?, ?, ?, 'open', ?)
			on conflict (prediction) do update set at = excluded.at, task = excluded.task, label = excluded.label, comment = excluded.comment, state = 'open', image = coalesce(excluded.image, image)
			where state != 'applied'`,
			at,
			row.id,
			said.task,
			said.label,
			said.comment,
			row.verdict,
			said.task === row.task ? row.score : null, // of another product it says nothing
			said.image,
		);
		return this.#feedback("where prediction = ?", row.id)[0] as FeedbackReply;
	}

	feedback({
		task,
		state,
	}: {
		readonly task?: string | undefined;
		readonly state?: FeedbackReply["state"] | undefined;
	} = {}): FeedbackReply[] {
		return this.#feedback(
			"where (? is null or task = ?) and (? is null or state = ?) order by id desc limit 1000",
			task ?? null,
			task ?? null,
			state ?? null,
			state ?? null,
		);
	}

	/** On a prediction. */
	feedbackTo(prediction: number): FeedbackReply | null {
		return this.#feedback("where prediction = ?", prediction)[0] ?? null;
	}

	feedbackOf(id: number): FeedbackReply | null {
		return this.#feedback("where id = ?", id)[0] ?? null;
	}

	setFeedback(ids: readonly number[], state: FeedbackReply["state"]): void {
		for (const id of ids)
			this.#run("update feedback set state = ? where id = ?", state, id);
	}

	/** Those of feedback first, then the newest. */
	keptImages(most: number): number[] {
		return this.#all(
			`select prediction as id from (
				select prediction, 1 as said from feedback where image is not null and state != 'withdrawn'
				union all
				select id, 0 from predictions where image is not null and id not in (select prediction from feedback)
			) order by said desc, prediction desc limit ?`,
			most,
		).map(({ id }) => id as number);
	}

	keptImage(prediction: number): KeptImage | null {
		const bytes = this.image(prediction);
		const [said] = this.#feedback("where prediction = ?", prediction);
		return (
			bytes && {
				prediction,
				bytes,
				label: said?.label ?? null,
				task: said?.task ?? this.get(prediction)?.task ?? null,
			}
		);
	}

	check(version: number): Check | null {
		const row = this.#get(
			`select ${texts("result")} from checks where version = ?`,
			version,
		);
		if (!row) return null;
		const stored = this.#tried(() => JSON.parse(String(row.result)) as unknown);
		return this.#checked(check, [stored])[0] ?? null;
	}

	setCheck(version: number, result: Check): void {
		this.#run(
			"insert or replace into checks (version, result) values (?, ?)",
			version,
			JSON.stringify(result),
		);
	}

	/** Drops what is too old, and the oldest while it takes too much. What operators said stays. */
	prune(now: number): void {
		this.#run(
			"delete from predictions where at < ?",
			now - this.#limits.days * 86_400_000,
		);
		const said = this.#number(
			"select coalesce(sum(length(image)), 0) from feedback",
		);
		while (this.bytes - said > this.#limits.bytes) {
			const { changes } = this.#run(
				"delete from predictions where id in (select id from predictions order by id limit max(1, (select count(*) / 20 from predictions)))",
			);
			if (changes === 0) break;
		}
		this.#tried(() =>
			this.#db.exec(
				"pragma incremental_vacuum; pragma wal_checkpoint(truncate)",
			),
		);
	}

	/** Of what it holds, without free pages. */
	get bytes(): number {
		const pages =
			this.#number("pragma page_count") - this.#number("pragma freelist_count");
		return pages * this.#number("pragma page_size");
	}

	close(): void {
		this.#prepared.clear();
		this.#db.close();
	}

	#rows(
		conditions: string,
		...values: readonly (string | number | null)[]
	): HistoryRow[] {
		const rows = this.#all(
			`select p.id, p.at, p.score, p.threshold, p.version, p.latency, ${texts("p.name", "p.task", "p.verdict", "p.reason")}, p.image is not null or f.image is not null as kept, cast(case when f.state != 'withdrawn' then f.label end as blob) as said from predictions p left join feedback f on f.prediction = p.id ${conditions}`,
			...values,
		).map((row) => {
			const score = row.score as number | null;
			const threshold = row.threshold as number | null;
			return {
				id: row.id as number,
				at: this.#time(row.at),
				name: row.name as string | null,
				score,
				threshold,
				verdict: row.verdict as Verdict,
				anomalous:
					score === null || threshold === null
						? null
						: isAnomalous(score, threshold),
				task: row.task as string | null,
				memoryVersion: row.version as number,
				latencyMs: row.latency as number,
				reason: row.reason as string | null,
				image: row.kept === 1,
				feedback: row.said as "good" | "bad" | null,
			};
		});
		return this.#checked(historyReply.shape.predictions.element, rows);
	}

	#feedback(
		conditions: string,
		...values: readonly (string | number | null)[]
	): FeedbackReply[] {
		const rows = this.#all(
			`select id, at, prediction, score, ${texts("task", "label", "comment", "verdict", "state")}, image is not null as kept from feedback ${conditions}`,
			...values,
		).map(({ at, kept, ...row }) => ({
			...row,
			at: this.#time(at),
			image: kept === 1,
		}));
		return this.#checked(feedback, rows);
	}

	#statement(sql: string): Database.Statement {
		const statement = this.#prepared.get(sql) ?? this.#db.prepare(sql);
		this.#prepared.set(sql, statement);
		return statement;
	}

	#run(sql: string, ...values: readonly unknown[]): Database.RunResult {
		return this.#tried(() => this.#statement(sql).run(...values));
	}

	#all(sql: string, ...values: readonly unknown[]): Row[] {
		return this.#tried(() =>
			(this.#statement(sql).all(...values) as Row[]).map(readable),
		);
	}

	#get(sql: string, ...values: readonly unknown[]): Row | undefined {
		return this.#tried(() => {
			const row = this.#statement(sql).get(...values) as Row | undefined;
			return row && readable(row);
		});
	}

	/** Of a pragma or a count. */
	#number(sql: string): number {
		const row = this.#get(sql) ?? {};
		const value = Object.entries(row).find(([name]) => name !== "_metadata");
		return Number(value?.[1] ?? 0);
	}
}
