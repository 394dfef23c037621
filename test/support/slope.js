// A straight line through measurements that come one after another.

/** Two-sided 95 % of Student's t, good to 1 % from 3 degrees of freedom on. */
const student = (freedom) => 1.96 + 2.37 / freedom + 2.82 / freedom ** 2 + 2.56 / freedom ** 3;

/**
 * `{ slope, half }` of y over x by least squares, and half of the slope's interval of 95 %. Neighbours resemble each other, so that
 * n points tell as much as n (1 − r) / (1 + r) independent ones, where r is the correlation of residuals with those before.
 */
export function slopeOf(x, y) {
  const n = x.length;
  const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / n;
  const [meanX, meanY] = [mean(x), mean(y)];
  const spread = x.reduce((sum, value) => sum + (value - meanX) ** 2, 0);
  const slope = x.reduce((sum, value, i) => sum + (value - meanX) * (y[i] - meanY), 0) / spread;
  const residuals = y.map((value, i) => value - meanY - slope * (x[i] - meanX));
  const squares = residuals.reduce((sum, value) => sum + value ** 2, 0);
  if (squares === 0) return { slope, half: 0 };
  const products = residuals.slice(1).reduce((sum, value, i) => sum + value * residuals[i], 0);
  const r = Math.min(0.95, Math.max(0, products / squares));
  const freedom = Math.max(3, (n * (1 - r)) / (1 + r) - 2);
  return { slope, half: student(freedom) * Math.sqrt(squares / freedom / spread) };
}
