/** Where the focus goes when what had it goes away. */

/** Once the page is drawn anew, what is left without a focus has it on the page's content: Tab and a screen reader go on from there. */
export function rescueFocus(): void {
  requestAnimationFrame(() => {
    const focused = document.activeElement;
    const isLost = focused === document.body || focused?.closest('.modal[data-state="closed"]');
    if (isLost) document.getElementById('content')?.focus({ preventScroll: true });
  });
}
