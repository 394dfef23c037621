#!/bin/sh
# Makes the encoded forms of one short sound for test/audio/decode.test.js, by sox. Run from the repository's root.
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
# Many small frames, so that a range can be searched for.
sox -D -R -r 16000 -n -b 16 -t wav - synth 8 brownnoise gain -62 | ffmpeg -v error -y -i - -frame_size 576 -bitexact frames.flac
# Compressed forms, by lame, opus-tools and vorbis-tools, and what ffmpeg and those tools decode them to.
sox -D voice.wav short.wav trim 0 0.4
lame --quiet -b 64 short.wav short.mp3
lame --quiet -t -b 64 short.wav untagged.mp3
opusenc --quiet --serial 1 --discard-comments short.wav short.opus
opusenc --quiet --serial 1 --discard-comments stereo48k.wav stereo.opus
oggenc -Q -s 1 -q 2 short.wav -o short.ogg
ffmpeg -v error -y -bitexact -i short.mp3 -sample_fmt s16 short.mp3.flac
ffmpeg -v error -y -bitexact -i untagged.mp3 -sample_fmt s16 untagged.mp3.flac
opusdec --quiet --no-dither --rate 48000 short.opus decoded.wav && sox -D decoded.wav short.opus.flac
opusdec --quiet --no-dither --rate 48000 stereo.opus decoded.wav && sox -D decoded.wav stereo.opus.flac
oggdec -Q short.ogg -o decoded.wav && sox -D decoded.wav short.ogg.flac
rm short.wav decoded.wav
# Silence at its end: the last frame has 13 bytes.
sox -D -R -r 22050 -n -b 16 silent-end.flac synth 0.2 brownnoise gain -40 pad 0 0.25
