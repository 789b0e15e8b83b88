/** Losses and what they are made of, from the operators beside. */
import { type Value, withGradient } from "../graph.ts";
import { mul, neg } from "./elementwise.ts";
import { logSoftmax, mean, sum } from "./reduce.ts";

/** Mean cross entropy of one-hot labels. */
export const crossEntropy = (
	logits: Value /* [B, K] */,
	labels: Value /* [B, K] */,
): Value => neg(mean(sum(mul(labels, logSoftmax(logits)), [1])));

/** The same value as a constant to gradients. */
export const stopGradient = (x: Value): Value =>
	withGradient(mul(x, 1), [], () => []);
