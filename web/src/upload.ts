/** Sends the pictures of a job, a few at a time; a server that is busy is asked again when it says so. */
import { Problem, request } from "./http.ts";

const together = 3;
/** Tries of one picture, where the server asks to wait. */
const tries = 20;

export async function uploadImages(
	job: string,
	files: readonly File[],
	onSent: (count: number) => void,
	signal: AbortSignal,
): Promise<void> {
	let next = 0;
	let sent = 0;
	const lane = async () => {
		for (let n = next++; n < files.length; n = next++) {
			await put(`/v1/jobs/${job}/images/${n}`, files[n] as File, signal);
			onSent(++sent);
		}
	};
	await Promise.all(Array.from({ length: together }, lane));
}

export async function put(
	path: string,
	body: Blob,
	signal: AbortSignal,
): Promise<void> {
	for (let left = tries; ; left--) {
		try {
			await request("PUT", path, {
				body,
				signal,
				headers: { "content-type": body.type || "application/octet-stream" },
			});
			return;
		} catch (error) {
			const wait = error instanceof Problem ? error.retryAfter : null;
			if (wait === null || left <= 1) throw error;
			await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
		}
	}
}
