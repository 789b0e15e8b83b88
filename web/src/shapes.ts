/** Shapes that say where to look, and the mask they make: white where to look, black elsewhere. */

export interface Point {
	readonly x: number;
	readonly y: number;
}

/** A closed line of at least three points in the picture's pixels. A later shape lies over the earlier ones. */
export interface Shape {
	readonly points: readonly Point[];
	/** Whether its inside is looked at, or left out. */
	readonly look: boolean;
}

export const rectangle = (a: Point, b: Point): readonly Point[] => [
	a,
	{ x: b.x, y: a.y },
	b,
	{ x: a.x, y: b.y },
];

export function trace(
	ctx: CanvasRenderingContext2D,
	points: readonly Point[],
): void {
	ctx.beginPath();
	for (const { x, y } of points) ctx.lineTo(x, y);
	ctx.closePath();
}

/** A picture to draw on: its own size in px, and an image of it that is small enough to be drawn at every move. */
export interface Sheet {
	readonly width: number;
	readonly height: number;
	readonly image: ImageBitmap;
}

const sheetPx = 1000;

export async function sheetOf(file: Blob): Promise<Sheet> {
	const whole = await createImageBitmap(file);
	const { width, height } = whole;
	const scale = Math.min(1, sheetPx / Math.max(width, height));
	const image = await createImageBitmap(whole, {
		resizeWidth: Math.max(1, Math.round(width * scale)),
		resizeHeight: Math.max(1, Math.round(height * scale)),
	});
	whole.close();
	return { width, height, image };
}

/**
 * White where to look, at the size of the picture, or of `drawn`. If the first shape is left out, everything else is looked at; else
 * nothing but the shapes is.
 */
export function maskOf(
	shapes: readonly Shape[],
	{ width, height }: Pick<Sheet, "width" | "height">,
	drawn: { readonly width: number; readonly height: number } = {
		width,
		height,
	},
): HTMLCanvasElement {
	const canvas = document.createElement("canvas");
	canvas.width = drawn.width;
	canvas.height = drawn.height;
	const ctx = context(canvas);
	ctx.scale(drawn.width / width, drawn.height / height);
	ctx.fillStyle = shapes[0]?.look === true ? "#000" : "#fff";
	ctx.fillRect(0, 0, width, height);
	for (const { points, look } of shapes) {
		trace(ctx, points);
		ctx.fillStyle = look ? "#fff" : "#000";
		ctx.fill();
	}
	return canvas;
}

/** Of the mask's pixels, how many are white: 0..1. */
export function shareOf(mask: HTMLCanvasElement): number {
	const { data } = context(mask).getImageData(0, 0, mask.width, mask.height);
	let white = 0;
	for (let i = 0; i < data.length; i += 4) if ((data[i] ?? 0) > 127) white++;
	return white / (data.length / 4);
}

export const pngOf = (canvas: HTMLCanvasElement): Promise<Blob> =>
	new Promise((resolve, reject) =>
		canvas.toBlob(
			(blob) => (blob ? resolve(blob) : reject(new Error("no PNG"))),
			"image/png",
		),
	);

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
	const ctx = canvas.getContext("2d", { willReadFrequently: true });
	if (!ctx) throw new Error("this browser draws no canvas");
	return ctx;
}
