/** A place to drop files or a folder on, with buttons that do the same. */
import { useRef, useState } from "preact/hooks";
import { useAction } from "../action.ts";
import { filesOf } from "../files.ts";
import { Notice } from "./Notice.tsx";

export function FileDrop({
	words,
	choose,
	folder,
	multiple = false,
	onFiles,
}: {
	readonly words: string;
	readonly choose: string;
	/** Words of the button that opens a folder; absent: none is asked for. */
	readonly folder?: string;
	readonly multiple?: boolean;
	readonly onFiles: (files: readonly File[]) => void;
}) {
	const [over, setOver] = useState(false);
	const { problem, run } = useAction();
	const depth = useRef(0); // of entered elements: leaving a child is not leaving the place
	const entered = (change: number) => {
		depth.current = Math.max(0, depth.current + change);
		setOver(depth.current > 0);
	};
	return (
		<div
			class={over ? "drop over" : "drop"}
			onDragEnter={(event) => {
				event.preventDefault();
				entered(1);
			}}
			onDragLeave={() => entered(-1)}
			onDragOver={(event) => event.preventDefault()}
			onDrop={(event) => {
				event.preventDefault();
				entered(-depth.current);
				const dropped = event.dataTransfer && filesOf(event.dataTransfer);
				run(async () => {
					const files = (await dropped) ?? [];
					if (files.length > 0) onFiles(files);
				});
			}}
		>
			<p>{words}</p>
			<div class="buttons">
				<Chooser words={choose} multiple={multiple} onFiles={onFiles} />
				{folder && <Chooser words={folder} folder multiple onFiles={onFiles} />}
			</div>
			<Notice problem={problem} />
		</div>
	);
}

/** A file input that looks like the other buttons. */
function Chooser({
	words,
	folder = false,
	multiple,
	onFiles,
}: {
	readonly words: string;
	readonly folder?: boolean;
	readonly multiple: boolean;
	readonly onFiles: (files: readonly File[]) => void;
}) {
	return (
		<label class="button">
			<input
				class="unseen"
				type="file"
				multiple={multiple}
				ref={(input) => {
					if (input) input.webkitdirectory = folder;
				}}
				accept={folder ? undefined : "image/*,.bmp,.tif,.tiff"}
				onChange={(event) => {
					const files = [...(event.currentTarget.files ?? [])];
					event.currentTarget.value = "";
					if (files.length > 0) onFiles(files);
				}}
			/>
			{words}
		</label>
	);
}
