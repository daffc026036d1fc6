// Follow streams of Server-Sent Events, and open them again when nothing comes any more.
// A hidden page closes them: a browser has six connections for all pages of a server.

const SILENCE = 10_000; // milliseconds, after which a stream is taken for dead

export function follow(streams) {
  let sources = [];
  let heard = 0;

  function open() {
    close();
    heard = Date.now();
    sources = Object.entries(streams).map(([url, show]) => {
      const source = new EventSource(url);
      source.onmessage = ({ data }) => {
        heard = Date.now();
        show(JSON.parse(data));
      };
      return source;
    });
  }

  function close() {
    for (const source of sources) source.close();
    sources = [];
  }

  function check() {
    if (document.hidden) close();
    else if (!sources.length || Math.abs(Date.now() - heard) > SILENCE) open();
  }

  document.addEventListener("visibilitychange", check);
  document.addEventListener("freeze", close);
  document.addEventListener("resume", check);
  setInterval(check, 1000);
  check();
}
