"""Every rule on one regression: how close each comes to least squares, how fast, at what cost.

Linear regression on NASA's airfoil data (1,500 rows, 5 features, whitened), loss ½(ŷ - y)², batch
10 (Rprop, meant for full gradients, takes all rows at once). A rule's rate is constant: of many in
lanes, the one that ends lowest. Its time per epoch is that of one lane on one thread, measured
alone.
"""

import numpy as np
from common import above, arguments, regression, seconds_per_epoch

from thalweg import linear, rules, style

RATES = np.geomspace(1e-5, 10, 49).tolist()
EPOCHS = 20


def main() -> None:
    """Train with every rule in lanes, time each, print and draw them, the closest first."""
    args = arguments(__doc__)
    X, y, least = regression()
    rows = []
    for rule in rules.names("element-wise"):
        batch_size = len(X) if rule == "rprop" else 10
        fit = linear.train(X, y, rule=rule, epochs=EPOCHS, batch_size=batch_size, lr=RATES)
        excess = above(least, fit.train_loss)
        lane = int(excess[-1].argmin())
        seconds = seconds_per_epoch(
            X, y, 100 if args.quick else 500, rule=rule, batch_size=batch_size, lr=RATES[lane]
        )
        rows.append((rule, batch_size, RATES[lane], excess[:, lane], 1e6 * seconds))
    rows.sort(key=lambda row: row[3][-1])

    print(f"{'':18}                  % above least    epochs to    µs per")
    print(f"{'rule':18}batch       lr   after {EPOCHS} epochs    within 1 %   epoch")
    for rule, batch_size, rate, excess, microseconds in rows:
        within = np.flatnonzero(excess <= 1)
        epochs = within[0] if len(within) else "never"
        cells = f"{rule:18}{batch_size:5d} {rate:8.2g} {excess[-1]:14.3f}"
        print(f"{cells} {epochs:>13} {microseconds:11.1f}")

    with style.styled():
        across, down = 5, -(-len(rows) // 5)
        picture, panels = style.figure(
            9.0, 1.8 * down, nrows=down, ncols=across, sharex=True, sharey=True
        )
        for spare in panels.flat[len(rows) :]:
            spare.set_axis_off()
        reference = next(excess for rule, _, _, excess, _ in rows if rule == "sgd")
        for panel, (rule, batch_size, rate, excess, microseconds) in zip(
            panels.flat, rows, strict=False
        ):
            batch = "" if batch_size == 10 else f", batch {batch_size}"
            panel.semilogy(reference, color=style.MUTED, linestyle="-", linewidth=0.7)
            panel.semilogy(excess, color=style.WINNER, linestyle="-")
            panel.axhline(1, color=style.INK, linewidth=0.7, linestyle=":")
            panel.set_title(f"{rule}{batch}\nlr {rate:.2g}, {microseconds:.0f} µs per epoch")
        panels[0, 0].xaxis.get_major_locator().set_params(integer=True)
        picture.supxlabel("epoch")
        picture.supylabel("loss above the least-squares optimum (%)")
        picture.suptitle(
            "thick: the rule of the panel; thin: sgd; dotted: 1 % above the optimum", fontsize=9
        )
        print(f"picture: {style.save(picture, args.out)}")


if __name__ == "__main__":
    main()
