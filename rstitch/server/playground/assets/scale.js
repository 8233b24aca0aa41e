// tau on a slider, and entropies on a strip: logarithmic, since both span four powers of ten.

const LOW = 1e-4, DECADES = 4;
export const TOP = 100; // steps of the slider; the first is the LLM alone, the last the SLM alone

/** Where an entropy or tau lies between LOW and 1, as a share of that way. */
export function share(value) {
  return Math.max(0, Math.min(1, 1 + Math.log10(Math.max(value, LOW)) / DECADES));
}

export class Scale {
  /** own: the pair's tau, or null; least, most: what the server allows, null where it does not say. */
  constructor(own, least, most) {
    this.own = own;
    this.first = least === null || least < 0 ? 0 : Math.ceil(Scale.step(least));
    this.last = most === null || most >= 1 ? TOP : Math.floor(Scale.step(most));
    this.home = own === null ? null : Math.round(Scale.step(own));
  }

  /** The step that a tau lies at, which need not be whole. */
  static step(tau) {
    return tau < 0 ? 0 : 1 + (TOP - 1) * share(tau);
  }

  tau(step) {
    if (step === this.home) return this.own;
    if (step <= 0) return -1;
    if (step >= TOP) return 1;
    return Number((LOW * 10 ** (DECADES * (step - 1) / (TOP - 1))).toPrecision(2));
  }

  /** In words. */
  told(step) {
    if (step <= 0) return "below 0: the LLM alone";
    if (step >= TOP) return "1: the SLM alone";
    return String(this.tau(step));
  }
}
