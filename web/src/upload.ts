/** Sends the pictures of a job, a few at a time. */
import { request } from "./http.ts";

const together = 3;

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
	const type = body.type.startsWith("image/")
		? body.type
		: "application/octet-stream";
	await request("PUT", path, {
		body,
		signal,
		headers: { "content-type": type },
	});
}
