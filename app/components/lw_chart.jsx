import { useEffect, useRef, useState } from "react";
import { createChart, createSeriesMarkers, AreaSeries, CandlestickSeries, ColorType, HistogramSeries } from "lightweight-charts";

const token = (name) => {
  const themed = document.querySelector(".radix-themes") ?? document.documentElement;
  return getComputedStyle(themed).getPropertyValue(name).trim() || "#888888";
};
const theme = () => ({
  layout: { background: { type: ColorType.Solid, color: "transparent" }, textColor: token("--muted"), fontSize: 11,
            fontFamily: "Inter Variable, Inter, system-ui, sans-serif", attributionLogo: true },
  grid: { vertLines: { color: token("--line-soft") }, horzLines: { color: token("--line-soft") } },
});
const candleColours = () => ({ upColor: token("--up"), downColor: token("--down"), wickUpColor: token("--up"), wickDownColor: token("--down"), borderVisible: false });
const areaColours = () => ({ lineColor: token("--accent"), topColor: token("--accent") + "44", bottomColor: "rgba(0,0,0,0)", lineWidth: 2 });
const volumeBar = (c) => ({ time: c.time, value: Number(c.volume ?? 0), color: token(c.close >= c.open ? "--up" : "--down") + "55" });

/* Candles (or an area) with volume. History comes from `dataUrl` or `data`, candles closed since then from `fresh`, trades as `markers`. */
export function LwChart({ id, kind = "candles", data, dataUrl, fresh, markers, height = 380, ariaLabel }) {
  const box = useRef(null), made = useRef({});
  const [note, setNote] = useState("");

  useEffect(() => {
    const chart = createChart(box.current, { autoSize: true, ...theme(), crosshair: { mode: 0 },
      timeScale: { timeVisible: true, secondsVisible: true, borderVisible: false }, rightPriceScale: { borderVisible: false } });
    const isArea = kind === "area";
    const main = chart.addSeries(isArea ? AreaSeries : CandlestickSeries, isArea ? areaColours() : candleColours());
    const volume = isArea ? null : chart.addSeries(HistogramSeries, { priceFormat: { type: "volume" }, priceScaleId: "", lastValueVisible: false, priceLineVisible: false });
    volume?.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    made.current = { chart, main, volume, markers: createSeriesMarkers(main, []), newest: 0, rows: [] };
    const repaint = new MutationObserver(() => requestAnimationFrame(() => {
      chart.applyOptions(theme());
      main.applyOptions(isArea ? areaColours() : candleColours());
      volume?.setData(made.current.rows.map(volumeBar));
    }));
    repaint.observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    return () => { repaint.disconnect(); chart.remove(); made.current = {}; };
  }, [kind]);

  const showAll = (rows) => {
    const { chart, main, volume } = made.current;
    if (!main) return;
    made.current.rows = rows;
    made.current.newest = rows.at(-1)?.time ?? 0;
    main.setData(rows);
    volume?.setData(rows.map(volumeBar));
    chart.timeScale().fitContent();
    if (rows.length > 220) chart.timeScale().setVisibleLogicalRange({ from: rows.length - 200, to: rows.length + 4 });
    box.current?.setAttribute("data-rows", String(rows.length));
    setNote(rows.length ? "" : "No candles in this range yet.");
  };

  useEffect(() => { if (data?.length) showAll(data); }, [data, kind]);
  useEffect(() => {
    if (!dataUrl) return;
    const stop = new AbortController();
    setNote("Loading candles …");
    fetch(dataUrl, { signal: stop.signal, credentials: "same-origin" })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))))
      .then((rows) => showAll(rows.candles ?? rows))
      .catch((error) => { if (error.name !== "AbortError") setNote("The candles could not be loaded. Reload the page to try again."); });
    return () => stop.abort();
  }, [dataUrl, kind]);
  useEffect(() => {
    const { main, volume } = made.current;
    for (const candle of fresh ?? []) {
      // update() throws for a candle older than the newest, and a throw here would take the whole page down.
      if (!main || candle.time === undefined || candle.time < made.current.newest) continue;
      made.current.newest = candle.time;
      made.current.rows.push(candle);
      main.update(candle);
      volume?.update(volumeBar(candle));
      box.current?.setAttribute("data-newest", String(candle.time));
      setNote("");
    }
  }, [fresh]);
  useEffect(() => {
    const coloured = (markers ?? []).map((m) => ({ ...m, color: token(m.side === "BUY" ? "--up" : "--down") }));
    made.current.markers?.setMarkers(coloured);
  }, [markers, dataUrl]);

  return (
    <div style={{ position: "relative", width: "100%", height }}>
      <div ref={box} id={id} data-testid={id} role="group" aria-label={ariaLabel} style={{ width: "100%", height: "100%" }} />
      {note && <p className="muted" role="status" style={{ position: "absolute", inset: 0, display: "grid", placeItems: "center", pointerEvents: "none" }}>{note}</p>}
    </div>
  );
}
