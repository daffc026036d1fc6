// Join the chat, and come back when the connection was lost.

const said = document.getElementById("said");
const form = document.getElementById("say");
const { chat } = form.dataset;
const [input, button] = form.elements;
let socket;

function join() {
  socket = new WebSocket(chat);
  socket.onopen = () => ready(true);
  socket.onmessage = ({ data }) => show(JSON.parse(data));
  socket.onclose = () => {
    ready(false);
    setTimeout(join, 2000);
  };
}

function ready(yes) {
  input.disabled = button.disabled = !yes;
  input.placeholder = yes ? "Say something" : "not connected";
}

function show({ kind, who, text, members }) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  name.className = "mono";
  name.textContent = who;
  line.className = kind;
  line.append(name, kind === "said" ? ` ${text}` : ` ${kind}`);
  said.append(line);
  while (said.children.length > 200) said.firstChild.remove();
  said.scrollTop = said.scrollHeight;
  document.querySelector("[data-value=members]").textContent = members;
}

form.onsubmit = (event) => {
  event.preventDefault();
  if (input.value && socket.readyState === WebSocket.OPEN) socket.send(input.value);
  input.value = "";
};

join();
