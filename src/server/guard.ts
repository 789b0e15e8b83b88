/** Who may ask: holders of the token, or on a machine of its own whoever names it as it is called; never a page of another site. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { fail } from "../errors.ts";

const loopback = ["127.0.0.1", "localhost", "[::1]", "::1"];

export const isLoopback = (host: string): boolean => loopback.includes(host);

/** Letters in a token, at least. */
export const TOKEN_LENGTH = 16;

export interface GuardOptions {
	/** null: everyone on this machine. */
	readonly token: string | null;
	/** Where it listens. */
	readonly self: string;
	/** Other names of this server, without a port. */
	readonly hosts: readonly string[];
}

/** Throws for a request that is not let in. */
export function guard({ token, self, hosts }: GuardOptions) {
	const given = new Set(hosts.map((name) => name.toLowerCase()));
	const names = new Set([...loopback, self.toLowerCase(), ...given]);
	return (request: FastifyRequest, open: boolean): void => {
		const { host = "", origin, authorization = "" } = request.headers;
		// a name that someone else resolves to this address (DNS rebinding)
		if (token === null && !names.has(hostOf(host)))
			throw fail("ORIGIN_REFUSED", { what: "the host that was asked for" });
		if (origin !== undefined && !isSame(origin, host, given))
			throw fail("ORIGIN_REFUSED", { what: "the page that asks" });
		if (token !== null && !open && !isEqual(authorization, `Bearer ${token}`))
			throw fail("TOKEN_WRONG", { given: authorization !== "" });
	};
}

/** Lower case, without the port. */
const hostOf = (host: string): string =>
	host.toLowerCase().replace(/:\d*$/, "");

/** This server as it was asked for, or by one of the names it was given (`own`) where a proxy asks under another. */
function isSame(
	origin: string,
	host: string,
	own: ReadonlySet<string>,
): boolean {
	const [, name = ""] = /^https?:\/\/(.+)$/.exec(origin.toLowerCase()) ?? [];
	return name === host.toLowerCase() || own.has(hostOf(name));
}

/** In a time that tells nothing of where they differ. */
const isEqual = (a: string, b: string): boolean =>
	timingSafeEqual(digest(a), digest(b));
const digest = (text: string): Uint8Array =>
	createHash("sha256").update(text).digest();
