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

/** The address without user and password. */
function publicName(url: string): string {
	const parsed = URL.canParse(url) ? new URL(url) : null;
	if (parsed === null || !/^rediss?:$/.test(parsed.protocol))
		throw fail("REDIS_UNUSABLE", {
			name: "the address given",
			problem: "it is no redis://HOST:PORT or rediss://HOST:PORT",
		});
	parsed.username = "";
	parsed.password = "";
	return parsed.href;
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
		await withinTime(redis.connect());
		info = await redis.info();
	} catch (error) {
		throw unusable(
			`it cannot be asked (${reason || (error as Error).message})`,
		);
	} finally {
		redis.disconnect();
	}
	const value = (key: string) =>
		new RegExp(`^${key}:(.*?)\\r?$`, "m").exec(info)?.[1];
	const release = value("redis_version");
	const policy = value("maxmemory_policy");
	if (release === undefined || policy === undefined)
		throw unusable("what answers there is no Redis");
	if (Number(release.split(".")[0]) < 6)
		throw unusable(`it is version ${release}; 6.2 or later is needed`);
	if (policy !== "noeviction")
		throw unusable(
			`its maxmemory-policy is ${policy}, under which it may drop jobs; set it to noeviction`,
		);
}

/** A server that accepts and never speaks must not be waited for. */
function withinTime<T>(work: Promise<T>): Promise<T> {
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new Error("no answer within 5 s")),
			ANSWER_MS,
		);
	});
	work.catch(() => undefined); // told to whoever waits, if anyone still does
	return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
