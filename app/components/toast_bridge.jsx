import { useEffect } from "react";
import { toast } from "sonner";
import "@fontsource-variable/inter";

/* Messages from the server as data. Reflex's own toasts arrive as code to be evaluated, which our CSP forbids. */
export function ToastBridge({ message }) {
  useEffect(() => {
    // A reload finds the newest message still in the state: it has been shown in this tab already.
    if (!message?.id || message.id === sessionStorage.getItem("plumbline-message")) return;
    sessionStorage.setItem("plumbline-message", message.id);
    const show = toast[message.level] ?? toast;
    show(message.title, { description: message.text || undefined, duration: message.level === "error" ? 9000 : 5000 });
  }, [message]);
  return null;
}
