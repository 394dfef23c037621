#!/bin/sh
# Makes the encoded forms of one short sound for test/20.audio.decode.test.js, by sox. Run from the repository's root.
set -eu
cd test/fixtures/audio
sox -D voice.wav -b 24 -e signed-integer pcm24.wav trim 0 0.1
sox -D voice.wav -b 32 -e floating-point float32.wav trim 0 0.1
# 48 kHz, two channels that differ, 24 bits that are all used.
sox -D -r 48000 -n -b 24 stereo48k.wav synth 0.25 sine 440 sine 1000 gain -6
sox -D stereo48k.wav stereo48k.flac
sox -D voice.wav voice.flac
# Written to a pipe: the header cannot hold the length.
sox -D voice.wav -t wav - trim 0 0.1 | cat > piped.wav
sox -D voice.wav voice.aiff trim 0 0.05
# Many small frames, so that a stretch can be searched for.
sox -D -R -r 16000 -n -b 16 -t wav - synth 8 brownnoise gain -62 | ffmpeg -v error -y -i - -frame_size 576 -bitexact frames.flac
