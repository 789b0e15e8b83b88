/** Every English word of the dashboard, but the line of index.html for browsers without JavaScript. */
import type {
	FeedbackReply,
	JobReply,
	VersionsReply,
} from "../../src/server/api.ts";

type Verdict = FeedbackReply["verdict"];

/** A name within a sentence, so that one of right-to-left letters leaves the rest as it is (Unicode's isolates). */
const apart = (name: string): string => `\u2068${name}\u2069`;

const number = new Intl.NumberFormat("en");
const counted = (n: number, one: string, many: string): string =>
	`${number.format(n)} ${n === 1 ? one : many}`;
const pictures = (n: number): string => counted(n, "picture", "pictures");

const verdicts: Readonly<Record<Verdict, string>> = {
	good: "good",
	defect: "defect",
	unsure: "unsure",
	unknown: "unknown product",
	unusable: "unusable",
};

const labels = { good: "good", bad: "bad" } as const;

const phases: Readonly<Record<string, string>> = {
	read: "Reading",
	train: "Training",
	memory: "Remembering",
	evaluate: "Checking",
};

const jobs: Readonly<Record<JobReply["kind"], string>> = {
	learn: "Learning",
	add: "Adding images to",
	recalibrate: "Recalibrating",
	forget: "Forgetting",
	rollback: "Going back",
	threshold: "Setting the threshold of",
};

/** A change of everything has no product. */
const jobTitle = (kind: JobReply["kind"], task: string): string =>
	task === "" ? jobs[kind] : `${jobs[kind]} ${task}`;

const states: Readonly<Record<JobReply["state"], string>> = {
	open: "waits for its pictures",
	running: "running",
	review: "waits for your review",
	done: "done",
	failed: "failed",
	cancelled: "cancelled",
};

const versionStates: Readonly<
	Record<VersionsReply["versions"][number]["state"], string>
> = { active: "active", waiting: "waiting", earlier: "earlier" };

/** Known metrics of a run; others are shown by their own names. */
const metrics: Readonly<Record<string, string>> = {
	imageAuroc: "image AUROC",
	imageAurocAll: "image AUROC, all kinds",
	imageAveragePrecision: "image average precision",
	imageF1Max: "image F1-max",
	accuracy: "accuracy",
	pixelAuroc: "pixel AUROC",
	pixelAveragePrecision: "pixel average precision",
	aupro30: "AUPRO",
	imageAurocLogical: "image AUROC, logical",
	imageAurocStructural: "image AUROC, structural",
	auSpro05: "saturated PRO",
};

export const text = {
	name: "Keepsight",
	skip: "Skip to the page",
	mainMenu: "Pages",
	pages: {
		live: "Live",
		score: "Score",
		products: "Products",
		review: "Review",
		versions: "Versions",
		runs: "Runs",
	},
	title: (page: string): string => `${page} – Keepsight`,
	loading: "Loading …",
	cancel: "Cancel",
	close: "Close",
	none: "–",
	anyPart: "all of them",
	fewerThanOneIn: (n: string): string => `fewer than 1 in ${n}`,
	oneIn: (n: string): string => `1 in ${n}`,
	verdicts,
	labels,
	pictures,
	pictureMissing: "No preview",
	pictureOf: (what: string): string => `Picture of ${what}`,
	overlayOf: (what: string): string =>
		`${what}, with what stands out coloured and outlined`,
	unknownProduct: "no known product",
	unnamed: (id: number): string => `picture ${number.format(id)}`,

	connection: {
		open: "Connected",
		lost: "Connecting …",
		version: (version: number): string => `Memory ${number.format(version)}`,
		waiting: "A new version waits",
		empty: "Nothing learnt yet",
		job: jobTitle,
	},

	replica: {
		title: "This server only scores: it is a replica",
		help: (writer: string | null): string =>
			`Feedback is given and changes are made at ${writer ?? "the server that writes this memory"}; here they are refused. What is seen here is what this server scored.`,
	},

	problem: {
		ours: "Something went wrong",
		unreachable: "The server does not answer",
		status: (status: number): string => `The server answered ${status}.`,
		again: "Try again",
	},

	token: {
		title: "This server asks for a token",
		help: "It is what KEEPSIGHT_TOKEN holds where the server was started. It is kept in this tab until you close it.",
		label: "Token",
		refused: "The server did not take this token.",
		enter: "Continue",
	},

	scale: {
		label: (score: string, threshold: string): string =>
			`Score ${score}, threshold ${threshold}`,
		noScore: "No score",
		threshold: (threshold: string): string => `threshold ${threshold}`,
		help: "A score of 2 means: 1 good part in 100 looks so odd; of 3, 1 in 1,000. The hatched band is too near to the threshold to be sure.",
	},

	feedback: {
		legend: (what: string): string => `What ${what} really is`,
		good: "Good part",
		bad: "Bad part",
		saidGood: "You said good",
		saidBad: "You said bad",
		noPlace:
			"The history cannot be written now, so nothing can be noted of this picture.",
		thanks: (label: "good" | "bad"): string =>
			`Noted: ${labels[label]}. It is in Review.`,
		comment: "Comment",
		product: "Really shows",
		productAsSeen: "what was recognised",
	},

	live: {
		help: "What the server scores, as it comes.",
		empty:
			"No picture was scored yet. Drop one on the Score page, or send one to POST /v1/predict.",
		emptyFilter: "No such picture.",
		product: "Product",
		allProducts: "All products",
		verdict: "Verdict",
		allVerdicts: "All verdicts",
		pause: "Pause",
		resume: "Resume",
		held: (n: number): string => `Resume (${number.format(n)} new)`,
		older: "Older ones",
		closer: "Look closer",
		closerAt: (what: string): string => `Look closer at ${what}`,
		feed: "Pictures, the newest first",
		shown: (n: number): string => `Of the last ${number.format(n)}`,
		charts: "Scores over time",
		chart: (
			task: string,
			n: number,
			anomalous: number,
			threshold: string,
		): string =>
			`Scores of the last ${pictures(n)} of ${task}: ${number.format(anomalous)} at or above the threshold ${threshold}.`,
		noChart: "A product's scores are drawn here once it was seen.",
		news: (n: number, defects: number): string =>
			`${counted(n, "new picture", "new pictures")}, ${counted(defects, "defect", "defects")}.`,
		notKept:
			"This picture was not kept. keepsight serve --keep-images keeps them.",
		facts: {
			id: "Number",
			task: "Product",
			score: "Score",
			threshold: "Threshold",
			rarity: "Good parts that odd",
			version: "Memory version",
			latency: "Answered in",
			reason: "Reason",
		},
		ms: (ms: number): string => `${ms.toFixed(ms < 10 ? 1 : 0)} ms`,
	},

	score: {
		help: "One picture, scored by the memory that is active now.",
		drop: "Drop a picture here",
		choose: "Choose a picture",
		product: "Product",
		recognise: "Recognise it",
		working: (name: string): string => `Scoring ${apart(name)} …`,
		verdict: (
			verdict: Verdict,
			task: string | null,
			score: string,
			threshold: string,
		): string =>
			`${verdicts[verdict]}${task === null ? "" : `, ${task}`}: score ${score}, threshold ${threshold}.`,
		explain: {
			good: "Nothing stands out.",
			defect: "Something stands out.",
			unsure: "Close to the threshold: look yourself.",
			unknown: "It looks like none of the products that were learnt.",
			unusable: "It could not be scored.",
		} satisfies Record<Verdict, string>,
		noOverlay: "There is no map of this picture.",
		show: "Show what stands out",
		ask: "What is it really? A correction waits in Review until someone has looked at it.",
	},

	products: {
		help: "What was learnt, one product after the other.",
		add: "Add a product",
		empty:
			"Nothing is learnt yet. Add the first product: ten pictures of good parts are enough to begin.",
		images: (n: number): string =>
			`learnt from ${counted(n, "good picture", "good pictures")}`,
		recent: (n: number, share: string): string =>
			`${share} of the last ${number.format(n)} stood out`,
		notSeen: "not seen yet",
		recalibrate: "Recalibrate",
		running: "A change to what is known",
	},

	product: {
		gone: "There is no such product.",
		facts: {
			images: "Good pictures",
			bytes: "Memory",
			threshold: "Threshold",
			recent: "Stood out lately",
			drift: "Drift",
		},
		memory: (parts: string): string => parts,
		set: "set by hand",
		calibrated: "as calibrated",
		ofLast: (n: number): string => `of the last ${pictures(n)}`,
		driftNote: {
			few: "too few good pictures yet",
			none: "score above the learnt middle: as it should be",
			some: "score above the learnt middle, of which there should be 50 %",
		},
		driftTitle: "Good parts look different now",
		driftHelp: (share: string): string =>
			`${share} of the last good pictures score above the middle one of those it was learnt from; it was 50 %. A lamp, a lens or the light may have changed. About 20 pictures of good parts as they look now set it right.`,
		thresholdTitle: "Threshold",
		histogram: (n: number, threshold: string, above: number): string =>
			`Scores of ${counted(n, "good picture", "good pictures")}: ${number.format(above)} reach the threshold ${threshold}.`,
		histogramHelp:
			"Bars: the good pictures it was learnt from, each scored as if it had not been learnt. Marks below: what operators called bad.",
		slider: "Threshold",
		exact: "Exactly",
		rejects: (above: number, n: number, share: string): string =>
			`rejects ${number.format(above)} of ${number.format(n)} good pictures (${share})`,
		catches: (caught: number, n: number): string =>
			n === 0
				? "no picture was called bad yet"
				: `catches ${number.format(caught)} of ${number.format(n)} that were called bad`,
		rarity: (rarity: string): string =>
			`reached by ${rarity} good parts, by its calibration`,
		save: "Set threshold",
		reset: "As calibrated",
		fromFeedback: "Just below what was called bad",
		examples: "Lately",
		noExamples: "No picture of it is in the history.",
		more: "More good pictures",
		moreHelp:
			"Pictures of further good parts are added to what was learnt; the earlier ones are not needed.",
		recalibrate: "Recalibrate",
		recalibrateHelp:
			"After a lamp or a lens was changed: what was learnt stays, its scores are fitted to these good pictures. 20 are enough, 10 the least.",
		remove: "Forget this product",
		removeHelp:
			"Earlier versions still hold it, so that you can go back; other products keep all they know.",
		removeTitle: (task: string): string => `Forget ${apart(task)}?`,
		removeAction: "Forget it",
	},

	add: {
		title: "Add a product",
		help: "A folder of good parts is all it takes. The other products keep all they know.",
		name: "Name",
		nameHelp: "As it is called on the line, such as line-2/cap.",
		taken:
			"This name is taken. To give it more pictures, open the product's page.",
		images: "Pictures of good parts",
		drop: "Drop a folder or pictures here",
		files: "Choose pictures",
		folder: "Choose a folder",
		chosen: (n: number, size: string): string => `${pictures(n)}, ${size}`,
		skipped: (n: number): string =>
			`${counted(n, "other file was", "other files were")} left out`,
		nameless: "It needs a name first.",
		few: (n: number): string =>
			`${pictures(n)} so far; at least 10 are needed.`,
		clear: "Choose others",
		roi: "Where to look (optional)",
		roiHelp:
			"Fixtures, a printed date and other things that may change can be left out. Draw on the first picture; it counts for all, so the part should lie alike in them.",
		noRoi:
			"Your browser cannot show this kind of picture, so there is nothing to draw on.",
		review: "Show me odd pictures before anything is learnt",
		start: "Learn",
		startAdd: "Add these",
		startRecalibrate: "Recalibrate with these",
		uploading: (done: number, total: number): string =>
			`${number.format(done)} of ${number.format(total)} sent`,
		uploadLabel: "Pictures sent",
	},

	roi: {
		canvas:
			"Drawing area. Arrow keys move the cross, with Shift further. Enter sets a point. Escape drops the shape that was begun.",
		tool: "Shape",
		rectangle: "Rectangle",
		polygon: "Polygon",
		mode: "It is",
		look: "where to look",
		ignore: "to be left out",
		finish: "Close the polygon",
		undo: "Undo",
		clear: "Clear",
		whole: "The whole picture is looked at.",
		share: (share: string): string => `${share} of the picture is looked at.`,
		point: (x: number, y: number): string => `Point at ${x}, ${y}`,
	},

	job: {
		title: jobTitle,
		states,
		progress: "Progress",
		waiting: "Waiting for its turn …",
		phase: (phase: string): string => phases[phase] ?? phase,
		ofTotal: (done: number, total: number, unit: string): string =>
			`${number.format(done)} of ${number.format(total)} ${unit}`,
		done: (version: number | null): string =>
			version === null
				? "Done."
				: `Done: version ${number.format(version)} of the memory.`,
		waits:
			"Some kept pictures would get another verdict, so it waits for you to activate it.",
		failed: "It failed",
		cancelled: "It was cancelled; nothing has changed.",
		cancel: "Cancel",
		toProduct: "Open the product",
		toVersions: "See versions",
		gone: "There is no such job.",
	},

	odd: {
		title: "Do these belong?",
		help: "They look unlike the others. What is not good is left out of what is learnt; a coloured area shows where a picture differs.",
		none: "No picture looks odd.",
		image: (n: number): string => `Picture ${number.format(n + 1)}`,
		alt: (name: string): string => `${name}, with what is odd outlined`,
		score: (score: string): string => `score ${score}`,
		good: "Good",
		refused: "Not good",
		legend: (name: string): string => `${name} is`,
		go: (kept: number, refused: number): string =>
			refused === 0
				? `Learn with all ${number.format(kept)}`
				: `Learn without ${refused === 1 ? "this one" : `these ${number.format(refused)}`}`,
	},

	review: {
		help: "What operators corrected. Good parts that were called good can be learnt; what was called bad is kept to check every new version.",
		empty: "Nothing waits for a review.",
		said: (label: "good" | "bad", verdict: Verdict): string =>
			`The system said ${verdicts[verdict]}, an operator said ${labels[label]}`,
		good: "Called good",
		bad: "Called bad",
		choose: (what: string): string => `Learn ${what}`,
		all: "All of them",
		apply: (n: number): string =>
			n === 0 ? "Learn the chosen ones" : `Learn ${pictures(n)}`,
		notKept: "its picture was not kept, so it cannot be learnt",
		noProduct: "of no known product",
		withdraw: "Withdraw",
		withdrawAt: (what: string): string => `Withdraw what was said of ${what}`,
		badHelp:
			"These count on the product's page, where the threshold can be set below them.",
		toThreshold: "To the threshold",
	},

	versions: {
		help: "Every change makes a new version of the memory; the earlier ones are kept for going back.",
		empty: "There is no version yet: nothing is learnt.",
		version: (version: number): string => `Version ${number.format(version)}`,
		states: versionStates,
		products: (n: number): string => counted(n, "product", "products"),
		changed: (n: number, of: number, from: number): string =>
			`${number.format(n)} of ${number.format(of)} kept pictures would get another verdict than from version ${number.format(from)}${n === 0 ? "." : ":"}`,
		unchecked: "No kept pictures to check it with.",
		before: "before",
		after: "now",
		called: (label: "good" | "bad"): string =>
			`an operator called it ${labels[label]}`,
		activate: "Activate",
		back: "Go back to this",
		backTitle: (version: number): string =>
			`Go back to version ${number.format(version)}?`,
		backHelp:
			"What was learnt since is set aside, not lost: going back is a version as well, and you can return.",
		changes: (version: number): string =>
			`Changed verdicts of version ${number.format(version)}`,
	},

	runs: {
		help: "Runs of keepsight train: what each product's accuracy was after each learning step.",
		empty: "No run was evaluated here.",
		strategy: (strategy: string): string => `strategy ${strategy}`,
		metric: "Metric",
		metricName: (name: string): string => metrics[name] ?? name,
		after: "after learning",
		caption: (metric: string): string =>
			`${metric} in percent. Row: after learning. Column: on product.`,
		noMatrix: "This run has no evaluated metrics.",
		summary: {
			average: "Average",
			averageIncremental: "Average over the sequence",
			learning: "When just learnt",
			forgetting: "Forgetting",
			backwardTransfer: "Backward transfer",
			forwardTransfer: "Forward transfer",
		} as Readonly<Record<string, string>>,
		summaryHelp:
			"Forgetting: how far a product fell from its best, on average over all but the last.",
	},
} as const;
