/** Draws where to look on a picture, with a pointer or with the keyboard. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { formatShare } from "../format.ts";
import {
	context,
	maskOf,
	type Point,
	rectangle,
	type Shape,
	type Sheet,
	shareOf,
	trace,
} from "../shapes.ts";
import { useStore } from "../store.ts";
import { text } from "../text.ts";
import { type Theme, theme } from "../theme.ts";
import { Choice } from "./Choice.tsx";

type Tool = "rectangle" | "polygon";

export function RoiEditor({
	sheet,
	shapes,
	onShapes,
}: {
	readonly sheet: Sheet;
	readonly shapes: readonly Shape[];
	readonly onShapes: (shapes: readonly Shape[]) => void;
}) {
	const canvas = useRef<HTMLCanvasElement>(null);
	const [tool, setTool] = useState<Tool>("rectangle");
	const [look, setLook] = useState(true);
	/** Points that are set of the shape that was begun. */
	const [begun, setBegun] = useState<readonly Point[]>([]);
	/** The pointer, or the cross of the keyboard. */
	const [cross, setCross] = useState<Point | null>(null);
	const colours = useStore(theme);
	const { width, height, image } = sheet;
	const mask = useMemo(
		() => (shapes.length > 0 ? maskOf(shapes, sheet, sheet.image) : null),
		[shapes, sheet],
	);
	const share = useMemo(() => (mask ? shareOf(mask) : 1), [mask]);

	useEffect(() => {
		if (!canvas.current) return;
		const outline =
			tool === "rectangle" && begun[0] && cross
				? rectangle(begun[0], cross)
				: cross
					? [...begun, cross]
					: begun;
		const lines = [...shapes.map(({ points }) => points), outline];
		draw(context(canvas.current), sheet, mask, lines, cross, colours);
	}, [sheet, shapes, mask, begun, cross, tool, colours]);

	const close = (points: readonly Point[]) => {
		setBegun([]);
		if (points.length >= 3 && areaOf(points) >= 16)
			onShapes([...shapes, { points, look }]);
	};
	const set = (point: Point) => {
		announce(text.roi.point(Math.round(point.x), Math.round(point.y)));
		const first = begun[0];
		if (tool === "polygon") setBegun([...begun, point]);
		else if (first) close(rectangle(first, point));
		else setBegun([point]);
	};
	const pointOf = (event: PointerEvent): Point => {
		const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
		return {
			x: within(((event.clientX - box.left) / box.width) * width, width),
			y: within(((event.clientY - box.top) / box.height) * height, height),
		};
	};
	const onKeyDown = (event: KeyboardEvent) => {
		const at = cross ?? { x: width / 2, y: height / 2 };
		const step = (Math.max(width, height) / 100) * (event.shiftKey ? 10 : 1);
		const moves: Readonly<Record<string, readonly [number, number]>> = {
			ArrowLeft: [-step, 0],
			ArrowRight: [step, 0],
			ArrowUp: [0, -step],
			ArrowDown: [0, step],
		};
		const move = moves[event.key];
		if (move)
			setCross({
				x: within(at.x + move[0], width),
				y: within(at.y + move[1], height),
			});
		else if (event.key === "Enter" || event.key === " ") set(at);
		else if (event.key === "Escape") setBegun([]);
		else return;
		event.preventDefault();
	};

	return (
		<div class="roi">
			<div class="controls">
				<Choice
					legend={text.roi.tool}
					options={{
						rectangle: text.roi.rectangle,
						polygon: text.roi.polygon,
					}}
					value={tool}
					onChange={(next) => {
						setTool(next);
						setBegun([]);
					}}
				/>
				<Choice
					legend={text.roi.mode}
					options={{ look: text.roi.look, ignore: text.roi.ignore }}
					value={look ? "look" : "ignore"}
					onChange={(next) => setLook(next === "look")}
				/>
			</div>
			<canvas
				ref={canvas}
				width={image.width}
				height={image.height}
				tabIndex={0}
				role="application"
				aria-label={text.roi.canvas}
				onPointerDown={(event) => {
					event.currentTarget.setPointerCapture(event.pointerId);
					const point = pointOf(event);
					setCross(point);
					set(point);
				}}
				onPointerMove={(event) => setCross(pointOf(event))}
				onPointerUp={(event) => {
					// a rectangle may be dragged as well as set by two presses
					const [first] = begun;
					const point = pointOf(event);
					if (
						tool === "rectangle" &&
						first &&
						areaOf(rectangle(first, point)) >= 16
					)
						close(rectangle(first, point));
				}}
				onPointerLeave={() => setCross(null)}
				onDblClick={() => tool === "polygon" && close(begun)}
				onKeyDown={onKeyDown}
				onFocus={() => setCross(cross ?? { x: width / 2, y: height / 2 })}
				onBlur={() => setCross(null)}
			/>
			<div class="buttons">
				{tool === "polygon" && (
					<button
						type="button"
						disabled={begun.length < 3}
						onClick={() => close(begun)}
					>
						{text.roi.finish}
					</button>
				)}
				<button
					type="button"
					disabled={shapes.length === 0 && begun.length === 0}
					onClick={() =>
						begun.length > 0
							? setBegun(begun.slice(0, -1))
							: onShapes(shapes.slice(0, -1))
					}
				>
					{text.roi.undo}
				</button>
				<button
					type="button"
					disabled={shapes.length === 0}
					onClick={() => {
						setBegun([]);
						onShapes([]);
					}}
				>
					{text.roi.clear}
				</button>
				<span class="soft" role="status">
					{mask ? text.roi.share(formatShare(share)) : text.roi.whole}
				</span>
			</div>
		</div>
	);
}

const within = (value: number, size: number): number =>
	Math.min(size, Math.max(0, value));

/** By the shoelace formula, in px². */
function areaOf(points: readonly Point[]): number {
	let twice = 0;
	points.forEach((a, i) => {
		const b = points[(i + 1) % points.length] as Point;
		twice += a.x * b.y - b.x * a.y;
	});
	return Math.abs(twice) / 2;
}

/** The picture, dark where it is left out, with the outlines of all shapes and of the one that is drawn now. */
function draw(
	ctx: CanvasRenderingContext2D,
	{ width, height, image }: Sheet,
	mask: HTMLCanvasElement | null,
	lines: readonly (readonly Point[])[],
	cross: Point | null,
	{ accent }: Theme,
): void {
	ctx.resetTransform();
	ctx.drawImage(image, 0, 0);
	if (mask) {
		ctx.save();
		ctx.globalAlpha = 0.75;
		ctx.globalCompositeOperation = "multiply";
		ctx.drawImage(mask, 0, 0);
		ctx.restore();
	}
	ctx.scale(image.width / width, image.height / height);
	const unit = Math.max(width, height) / 300; // a thin line at the size it is shown
	const line = (color: string, size: number) => {
		ctx.strokeStyle = color;
		ctx.lineWidth = size * unit;
		ctx.stroke();
	};
	for (const points of lines) {
		trace(ctx, points);
		line("#fff", 2.4);
		line(accent, 1.2);
	}
	if (cross) {
		const arm = 6 * unit;
		ctx.beginPath();
		ctx.moveTo(cross.x - arm, cross.y);
		ctx.lineTo(cross.x + arm, cross.y);
		ctx.moveTo(cross.x, cross.y - arm);
		ctx.lineTo(cross.x, cross.y + arm);
		line("#fff", 2.2);
		line("#000", 0.9);
	}
}
