/**
 * Connected components of a mask under 8-connectivity: pixels that touch at an edge or a corner are one defect. What AUPRO
 * (Bergmann et al. 2021, section 5.1.1) calls a region where the ground truth is one mask an image.
 */

/** The pixels of each component as indices into the mask, components in the order of their first pixel. `mask` [H, W]: 0 or more. */
export function components(mask: Uint8Array, width: number): Int32Array[] {
	const height = mask.length / width;
	const left = mask.slice(); // pixels that no component has yet
	let marked = 0;
	for (const value of mask) if (value !== 0) marked++;
	const queue = new Int32Array(marked);
	const found: Int32Array[] = [];
	let end = 0;
	const take = (pixel: number) => {
		left[pixel] = 0;
		queue[end++] = pixel;
	};
	for (let seed = 0; end < marked; seed++) {
		if (left[seed] === 0) continue;
		const start = end;
		take(seed);
		// breadth first: what was taken last is looked at last, so the queue itself becomes the list
		for (let at = start; at < end; at++) {
			const pixel = queue[at] as number;
			const x = pixel % width;
			const y = (pixel - x) / width;
			const fromX = Math.max(0, x - 1);
			const toX = Math.min(width - 1, x + 1);
			for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++)
				for (let p = v * width + fromX; p <= v * width + toX; p++)
					if (left[p] !== 0) take(p);
		}
		found.push(queue.subarray(start, end));
	}
	return found;
}
