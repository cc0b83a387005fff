"""The constants of the field, in one place: every default of a config or of a function comes from here.

T video frames at 25 fps -> 2T speech units at 50 Hz -> 4T mel frames at 100 Hz -> 640T samples at 16 kHz
(Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023).
"""

FRAME_RATE = 25  # video frames per second
SAMPLING_RATE = 16_000  # audio samples per second
UNITS_PER_FRAME = 2  # speech units (50 Hz) per video frame
MEL_PER_FRAME = 4  # mel frames (100 Hz) per video frame
SAMPLES_PER_FRAME = 640  # audio samples per video frame
SAMPLES_PER_UNIT = 320  # audio samples per speech unit
HOP_LENGTH = 160  # audio samples per mel frame

NUM_MEL_BINS = 80
MEL_WINDOW = 640  # STFT size and window of the target mel, samples
MEL_FLOOR = 1e-5  # magnitudes are clamped here before the natural logarithm
NUM_UNITS = 200
SPEAKER_EMBEDDING_DIM = 256

MOUTH_SIZE = 96  # side of a stored mouth crop, pixels
CROP_SIZE = 88  # side of the model's input, pixels
PIXEL_MEAN = 0.421  # of x / 255
PIXEL_STD = 0.165
CLIP_MEAN = 0.579  # gray values / 255 to which new trainings bring each clip: those of GRID's speaker s1
CLIP_STD = 0.111

UNIT_EXTRACTOR = "unit_extractor"  # the folder of a SpeechUnitExtractor, beside weights or prepared data
