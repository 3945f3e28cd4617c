"""Training clips composed of class-labelled pictures and sounds: moving pictures in which the mask follows who sounds
(ours).
"""
