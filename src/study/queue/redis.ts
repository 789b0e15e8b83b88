/** The connection to Redis or Valkey: refused before anything is begun where jobs could be lost on it. */
import { Redis } from "ioredis";
import { fail } from "../../errors.ts";

/** To connect and to answer a first question. */
const ANSWER_MS = 5000;
const RETRY_MS = 1000;

/** All keys in Redis begin with it. */
export const prefix = "keepsight";

export interface Connection {
	readonly redis: Redis;
	/** Its address without a password. */
	readonly name: string;
}

/** `onChange`: the connection went away, or is back. */
export async function connect(
	url: string,
	onChange: (text: string) => void,
): Promise<Connection> {
	const name = publicName(url);
	await probe(url, name);
	const redis = new Redis(url, {
		maxRetriesPerRequest: null, // a job waits until Redis is back
		retryStrategy: () => RETRY_MS,
	});
	let there = true;
	redis.on("error", () => undefined); // "close" follows
	redis.on("close", () => {
		if (there && redis.status !== "end")
			onChange(`Redis at ${name} does not answer; trying again every second.`);
		there = false;
	});
	redis.on("ready", () => {
		if (!there) onChange(`Redis at ${name} is back.`);
		there = true;
	});
	return { redis, name };
}

/** Host, port and database alone: passwords may stand before and behind them. */
function publicName(url: string): string {
	const parsed = URL.canParse(url) ? new URL(url) : null;
	if (parsed === null || !/^rediss?:$/.test(parsed.protocol))
		throw fail("REDIS_UNUSABLE", {
			name: "the address given",
			problem: "it is no redis://HOST:PORT or rediss://HOST:PORT",
		});
	return `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
}

/** What INFO must say. */
async function probe(url: string, name: string): Promise<void> {
	const unusable = (problem: string) =>
		fail("REDIS_UNUSABLE", { name, problem });
	const redis = new Redis(url, {
		lazyConnect: true,
		connectTimeout: ANSWER_MS,
		commandTimeout: ANSWER_MS,
		maxRetriesPerRequest: 0,
		retryStrategy: () => null,
	});
	let reason = "";
	redis.on("error", (error) => {
		reason = error.message;
	});
	let info: string;
	try {
		await withinTime(redis.connect(), ANSWER_MS);
		info = await redis.info();
		await redis.set(`${prefix}:probe`, "", "EX", 1); // full, read-only or forbidden: better known now
	} catch (error) {
		throw unusable(`it cannot be used (${reason || (error as Error).message})`);
	} finally {
		redis.disconnect();
	}
	const value = (key: string) =>
		new RegExp(`^${key}:(.*?)\\r?$`, "m").exec(info)?.[1];
	const release = value("redis_version");
	const policy = value("maxmemory_policy");
	if (release === undefined || policy === undefined)
		throw unusable("what answers there is no Redis");
	const [major = 0, minor = 0] = release.split(".").map(Number);
	if (major < 6 || (major === 6 && minor < 2))
		throw unusable(`it is version ${release}; 6.2 or later is needed`);
	if (policy !== "noeviction")
		throw unusable(
			`its maxmemory-policy is ${policy}, under which it may drop jobs; set it to noeviction`,
		);
}

/** A server that accepts and never speaks must not be waited for. */
export function withinTime<T>(work: Promise<T>, ms: number): Promise<T> {
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new Error(`no answer within ${ms / 1000} s`)),
			ms,
		);
	});
	work.catch(() => undefined); // told to whoever waits, if anyone still does
	return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
