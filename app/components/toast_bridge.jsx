import { useEffect, useRef } from "react";
import { toast } from "sonner";
import "@fontsource-variable/inter";

/* Messages from the server as data. Reflex's own toasts arrive as code to be evaluated, which our CSP forbids. */
export function ToastBridge({ message }) {
  const seen = useRef("");
  useEffect(() => {
    if (!message?.id || message.id === seen.current) return;
    seen.current = message.id;
    const show = toast[message.level] ?? toast;
    show(message.title, { description: message.text || undefined, duration: message.level === "error" ? 9000 : 5000 });
  }, [message]);
  return null;
}
