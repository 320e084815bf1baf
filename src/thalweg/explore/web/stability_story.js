// The story of the room of stability: what each step says, and what it sets.

export const STORY = [
  {
    title: "One curvature, one rate",
    text: "Take a single direction with curvature λ. Gradient descent multiplies its distance to the minimum by 1 − rate·λ at each step. That number is the dot in the circle on the right: inside the circle the error shrinks, outside it grows. At rate 1/λ the dot is at 0, the fastest there is. At 2/λ it leaves the circle on the left.",
    set: { rule: "sgd", low: 4, high: 4, lr: 0.1, memory: 0 },
  },
  {
    title: "Two curvatures share one rate",
    text: "Most problems are steep in some directions and flat in others. The steep one forbids large rates, and at that rate the flat one's dot sits close to 1: it hardly moves. The best rate lets both ends be equally slow. The ratio of the two curvatures, the condition number, decides how slow.",
    set: { rule: "sgd", low: 0.2, high: 4, lr: 0.476, memory: 0 },
  },
  {
    title: "Momentum turns dots into pairs",
    text: "With memory each direction has two dots, because there are two numbers to follow: position and velocity. When the pair leaves the line it moves along a circle of radius √β. All directions whose pairs are on that circle shrink equally fast, steep ones and flat ones. That is why momentum helps.",
    set: { rule: "momentum", low: 0.2, high: 4, lr: 0.6, memory: 0.5 },
  },
  {
    title: "The best point",
    text: "The star marks the fastest rate and memory for this range of curvatures. With it the error shrinks by (√κ − 1)/(√κ + 1) per step, where κ is the condition number; without memory it is (κ − 1)/(κ + 1). For κ = 20 that is 0.63 against 0.90: four times fewer steps.",
    set: { rule: "momentum", low: 0.2, high: 4, lr: 0.668, memory: 0.403 },
  },
  {
    title: "The limit",
    text: "Right of the edge the steepest direction's error grows: the descent diverges. For the heavy ball the edge is at (2 + 2β)/λ, so memory moves it right, by up to twice. Drag the upper end of the curvatures and see the edge move: a steeper direction lowers the limit for all.",
    set: { rule: "momentum", low: 0.2, high: 4, lr: 0.8, memory: 0.5 },
  },
  {
    title: "Adam has an edge too",
    text: "Adam divides by the size of past gradients. While that size holds still, Adam is a linear rule on rescaled curvatures, and it has a limit like any other: (2 + 2β₁)/((1 − β₁)λ). With β₁ = 0.9 that is 38/λ. Large networks are often trained right at this edge; the Network room shows it.",
    set: { rule: "adam", low: 0.2, high: 4, lr: 2, memory: 0.9 },
  },
];
