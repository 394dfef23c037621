# Length of each recording, the share of it that is voiced, and the median of its pitch.
form Measure
  sentence Jobs
  sentence Results
endform
jobs = Read Table from tab-separated file: jobs$
rows = Get number of rows
writeFile: results$, ""
for row to rows
  selectObject: jobs
  input$ = Get value: row, "input"
  floor$ = Get value: row, "floor"
  ceiling$ = Get value: row, "ceiling"
  sound = Read from file: input$
  seconds = Get total duration
  pitch = To Pitch: 0, number (floor$), number (ceiling$)
  frames = Get number of frames
  voiced = Count voiced frames
  median = Get quantile: 0, 0, 0.5, "Hertz"
  appendFileLine: results$, seconds, tab$, voiced / frames, tab$, median
  removeObject: sound, pitch
endfor
