import { useRef, useState } from "react";

const size = (bytes) => (bytes > 1048576 ? `${(bytes / 1048576).toFixed(1)} MB` : `${Math.ceil(bytes / 1024)} KB`);
const guess = (name) => {
  const found = /([A-Z]{5,14})[-_](1s|1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1M)(?![a-z])/.exec(name);
  return found ? { symbol: found[1], timeframe: found[2] } : {};
};

/* Sends a file of candles to the gateway with progress, and shows the gateway's own words when it refuses. */
export function DatasetUpload({ timeframes = [], limitMb = 50, onDone }) {
  const form = useRef(null), request = useRef(null);
  const [sent, setSent] = useState(null);
  const [wrong, setWrong] = useState("");

  const chosen = (event) => {
    const file = event.target.files?.[0];
    if (!file || !form.current) return;
    setWrong(file.size > limitMb * 1048576 ? `${file.name} is ${size(file.size)}; the limit is ${limitMb} MB.` : "");
    const { symbol, timeframe } = guess(file.name);
    if (symbol && !form.current.symbol.value) form.current.symbol.value = symbol;
    if (timeframe) form.current.timeframe.value = timeframe;
    if (!form.current.name_.value) form.current.name_.value = file.name.replace(/\.(csv|zip|gz)/gi, "");
  };

  const send = (event) => {
    event.preventDefault();
    const f = form.current, file = f.file.files?.[0];
    if (!file) { setWrong("Choose a file first."); return; }
    if (file.size > limitMb * 1048576) { setWrong(`${file.name} is ${size(file.size)}; the limit is ${limitMb} MB.`); return; }
    const body = new FormData();
    body.append("symbol", f.symbol.value.trim().toUpperCase());
    body.append("timeframe", f.timeframe.value);
    body.append("name", f.name_.value.trim());
    if (f.accept_scale?.checked) body.append("accept_scale", "true");
    body.append("file", file);
    const xhr = (request.current = new XMLHttpRequest());
    xhr.open("POST", "/api/v1/datasets");
    xhr.setRequestHeader("Idempotency-Key", crypto.randomUUID?.() ?? String(Math.random()).slice(2) + Date.now());
    xhr.upload.onprogress = (p) => p.lengthComputable && setSent(p.loaded / p.total);
    xhr.onload = () => {
      setSent(null);
      let answer = {};
      try { answer = JSON.parse(xhr.responseText); } catch { /* not JSON: said below */ }
      if (xhr.status >= 200 && xhr.status < 300) { f.reset(); onDone?.(String(answer.id ?? answer.dataset?.id ?? "")); }
      else setWrong(answer.error?.message ?? `The upload was refused (${xhr.status}).`);
    };
    xhr.onerror = () => { setSent(null); setWrong("The connection broke during the upload. Nothing was imported; please try again."); };
    xhr.onabort = () => { setSent(null); setWrong("Upload cancelled. Nothing was imported."); };
    setWrong(""); setSent(0); xhr.send(body);
  };

  const busy = sent !== null;
  return (
    <form ref={form} onSubmit={send} className="form-grid" data-testid="dataset-form">
      <div className="field full"><label htmlFor="dataset-file">File with candles (.csv, .csv.gz or Binance .zip, up to {limitMb} MB)</label>
        <input id="dataset-file" name="file" type="file" accept=".csv,.gz,.zip" className="input" onChange={chosen} data-testid="dataset-file" /></div>
      <div className="field"><label htmlFor="dataset-symbol">Symbol</label>
        <input id="dataset-symbol" name="symbol" className="input" required placeholder="BTCUSDT" autoComplete="off" data-testid="dataset-symbol" /></div>
      <div className="field"><label htmlFor="dataset-timeframe">Timeframe</label>
        <select id="dataset-timeframe" name="timeframe" className="select" defaultValue="1h" data-testid="dataset-timeframe">
          {timeframes.map((t) => <option key={t} value={t}>{t}</option>)}</select></div>
      <div className="field full"><label htmlFor="dataset-name">Name</label>
        <input id="dataset-name" name="name_" className="input" required maxLength={80} autoComplete="off" data-testid="dataset-name" /></div>
      <div className="full row">
        <button type="submit" className="btn primary" disabled={busy} data-testid="dataset-import">Import</button>
        {busy && <button type="button" className="btn quiet" onClick={() => request.current?.abort()}>Cancel</button>}
        {busy && <span className="muted small" role="status">{sent < 1 ? `Sending, ${Math.round(sent * 100)} %` : "Checking and storing every candle …"}</span>}
      </div>
      {busy && <div className="progress full" role="progressbar" aria-label="Upload" aria-valuenow={Math.round(sent * 100)} aria-valuemin={0} aria-valuemax={100}><div style={{ width: `${sent * 100}%` }} /></div>}
      {/confirm the scale/.test(wrong) && <label className="check full"><input type="checkbox" name="accept_scale" data-testid="dataset-accept-scale" /> The prices are right, import them anyway</label>}
      {wrong && <p className="wrong full" role="alert" data-testid="dataset-error">{wrong}</p>}
    </form>
  );
}
