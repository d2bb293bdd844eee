"""The part of the page that takes files and whole folders.

Gradio's own component takes files only, and forgets the folders that they come from.
"""

__all__ = ["HTML", "script"]

HTML = """
<div class="skspeech-drop">
  <div>Drop recordings or folders here, or choose
    <button type="button" data-opens="files">files</button> or
    <button type="button" data-opens="folder">a folder</button>.</div>
  <div class="note"></div>
  <input type="file" class="files" multiple>
  <input type="file" class="folder" webkitdirectory multiple>
</div>
"""
_SCRIPT = """
const MAX_BYTES = %(max_bytes)d, MAX_FILES = %(max_clips)d;
const area = () => element.querySelector('.skspeech-drop');
const say = text => { area().querySelector('.note').textContent = text; };
let busy = false;

// Each file with its path, from what was dropped on.
async function filesIn(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((take, fail) => entry.file(take, fail));
    return [[file, path + entry.name]];
  }
  const found = [], reader = entry.createReader();
  while (found.length < 10 * MAX_FILES) {
    const part = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!part.length) break;
    for (const inner of part) found.push(...await filesIn(inner, path + entry.name + '/'));
  }
  return found;
}

async function send(found) {
  if (busy || !found.length) return;
  busy = true;
  const sent = [], refused = [];
  found = found.filter(([file, name]) => !name.split('/').some(part => part.startsWith('.')));
  let next = 0, done = 0;
  async function work() {
    while (next < found.length) {
      const [file, name] = found[next++];
      if (file.size > MAX_BYTES) {
        refused.push([name, `It has ${(file.size / 1e6).toFixed(1)} MB; `
          + `${MAX_BYTES / 1e6} MB at most.`]);
      } else if (sent.length >= MAX_FILES) {
        refused.push([name, `${MAX_FILES} clips at most.`]);
      } else {
        const place = sent.push(null) - 1;
        try {
          sent[place] = [(await upload(file)).path, name];
        } catch (error) {
          refused.push([name, 'It could not be sent.']);
        }
      }
      done += 1;
      say(`${done} of ${found.length} are there …`);
    }
  }
  await Promise.all([work(), work(), work(), work()]);
  say('');
  busy = false;
  trigger('submit', {sent: sent.filter(item => item), refused});
}

element.addEventListener('click', event => {
  const opens = event.target.dataset && event.target.dataset.opens;
  if (opens) element.querySelector('input.' + opens).click();
});
element.addEventListener('change', event => {
  const files = [...event.target.files].map(file => [file, file.webkitRelativePath || file.name]);
  event.target.value = '';
  send(files);
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  element.addEventListener(kind, event => {
    event.preventDefault();
    area().classList.toggle('over', kind == 'dragover');
  });
}
element.addEventListener('drop', async event => {
  const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry());
  const found = await Promise.all(entries.filter(entry => entry).map(entry => filesIn(entry, '')));
  send(found.flat());
});
"""


def script(limits):
    """The script for a page with these limits."""
    return _SCRIPT % {"max_bytes": limits.max_bytes, "max_clips": limits.max_clips}
