import { useEffect } from "react";

const DIALOG = "[role=dialog],[role=alertdialog]";

/* A dialog opened from the server has no trigger of its own to give the focus back to: this remembers it. */
export function FocusReturn() {
  useEffect(() => {
    let last = null, wasOpen = false;
    const remember = (event) => { if (!event.target.closest?.(DIALOG)) last = event.target; };
    const watch = new MutationObserver(() => {
      const isOpen = document.querySelector(DIALOG) !== null;
      if (wasOpen && !isOpen) requestAnimationFrame(() => {
        const isLost = document.activeElement === null || document.activeElement === document.body;
        if (isLost && last?.isConnected) last.focus();
      });
      wasOpen = isOpen;
    });
    document.addEventListener("focusin", remember);
    watch.observe(document.body, { childList: true, subtree: true });
    return () => { document.removeEventListener("focusin", remember); watch.disconnect(); };
  }, []);
  return null;
}
