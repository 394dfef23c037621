# Says each recording with another pitch, pitch range, rate and formants, by overlap-add of pitch periods (PSOLA). Formants
# move with the sampling rate; pitch and length are then set as if it had not been touched.
form Change
  sentence Jobs
endform
jobs = Read Table from tab-separated file: jobs$
rows = Get number of rows
# What is not voiced is said with noise: the same in every run.
random_initializeWithSeedUnsafelyButPredictably (1)
for row to rows
  selectObject: jobs
  input$ = Get value: row, "input"
  output$ = Get value: row, "output"
  floor = Get value: row, "floor"
  ceiling = Get value: row, "ceiling"
  # of its pitch as recorded, and what it shall be, hertz
  median = Get value: row, "median"
  target = Get value: row, "target"
  range = Get value: row, "range"
  rate = Get value: row, "rate"
  formants = Get value: row, "formants"
  sound = Read from file: input$
  sampleRate = Get sampling frequency
  Override sampling frequency: sampleRate * formants
  seconds = Get total duration
  manipulation = To Manipulation: 0.01, floor * formants, ceiling * formants
  pitch = Extract pitch tier
  Formula: "target * (self / (median * formants)) ^ range"
  duration = Create DurationTier: "duration", 0, seconds
  Add point: 0, formants / rate
  selectObject: manipulation, pitch
  Replace pitch tier
  selectObject: manipulation, duration
  Replace duration tier
  selectObject: manipulation
  changed = Get resynthesis (overlap-add)
  result = Resample: sampleRate, 50
  # Level is set later.
  Scale peak: 0.9
  Save as WAV file: output$
  removeObject: sound, manipulation, pitch, duration, changed, result
endfor
