/** As much of an S3 server as the store asks of one, on loopback; told to refuse, it answers as real ones do. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export class S3Server {
	/** "bucket/key" -> what was put there. */
	readonly objects = new Map<string, Buffer>();
	/** Status and code that writes are answered with; null: they are taken. */
	refusal: readonly [status: number, code: string] | null = null;
	/** Keys a page of a listing holds. */
	page = 1000;
	readonly #server: Server;

	private constructor() {
		this.#server = createServer((request, reply) => {
			const chunks: Buffer[] = [];
			request.on("data", (chunk) => chunks.push(chunk));
			request.on("end", () => {
				const url = new URL(request.url ?? "/", "http://s3");
				const name = decodeURIComponent(url.pathname.slice(1));
				const answer = (status: number, body: string | Buffer = "") =>
					reply.writeHead(status).end(body);
				const error = (status: number, code: string) =>
					answer(
						status,
						`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`,
					);
				if (request.method === "PUT") {
					if (this.refusal) return error(...this.refusal);
					this.objects.set(name, Buffer.concat(chunks));
					return answer(200);
				}
				if (url.searchParams.get("list-type") === "2")
					return answer(200, this.#listing(name, url.searchParams));
				const found = this.objects.get(name);
				return found ? answer(200, found) : error(404, "NoSuchKey");
			});
		});
	}

	static async start(): Promise<S3Server> {
		const server = new S3Server();
		server.#server.listen(0, "127.0.0.1");
		await once(server.#server, "listening");
		return server;
	}

	get endpoint(): string {
		return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
	}

	stop(): Promise<unknown> {
		this.#server.closeAllConnections();
		this.#server.close();
		return once(this.#server, "close");
	}

	#listing(bucket: string, asked: URLSearchParams): string {
		const start = `${bucket.replace(/\/$/, "")}/`;
		const keys = [...this.objects.keys()]
			.filter((name) => name.startsWith(start + (asked.get("prefix") ?? "")))
			.map((name) => name.slice(start.length))
			.sort();
		const from = Number(asked.get("continuation-token") ?? 0);
		const page = keys.slice(from, from + this.page);
		const more = from + this.page < keys.length;
		return `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${more ? `<NextContinuationToken>${from + this.page}</NextContinuationToken>` : ""}${page.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`).join("")}</ListBucketResult>`;
	}
}
